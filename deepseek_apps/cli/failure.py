"""What went wrong, as the CLI tells it: one message, one next step, one exit code. Prints nothing.

This is the only table of exit codes:

    0 ok · 1 error · 2 usage · 3 authentication · 4 balance or rate · 5 context overflow · 124 time-out
    130 interrupt
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from typer.exceptions import TyperException

from deepseek_apps.errors import DeepSeekAppsError

__all__ = ["ExitCode", "Failure", "UsageError", "explain"]


class ExitCode(IntEnum):
    """How the command ended; these numbers are part of the public interface."""

    OK = 0
    ERROR = 1
    USAGE = 2
    AUTHENTICATION = 3
    BALANCE_OR_RATE = 4
    CONTEXT_OVERFLOW = 5
    TIMED_OUT = 124
    INTERRUPTED = 130


class UsageError(DeepSeekAppsError):
    """The command line, or what was piped in, cannot be used as it is."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Failure:
    """One error, ready to print.

    Attributes:
        message: What happened, with the offending value.
        help_message: What to do next, or empty.
        exit_code: Process exit status.
    """

    message: str
    help_message: str = ""
    exit_code: int = ExitCode.ERROR


# local_backend is optional and not imported here, so its errors are known by name.
LOCAL_EXIT_CODES = {
    "RequestTooLongError": ExitCode.CONTEXT_OVERFLOW,
    "UnknownModelError": ExitCode.USAGE,
    "ConfigError": ExitCode.USAGE,
    "UnsupportedParameterError": ExitCode.USAGE,
}


def explain(error: BaseException, *, command: str = "deepseek-apps") -> Failure:
    """Turn any exception into what the user is told.

    Args:
        error: What escaped from a command.
        command: Command path, for the hint at its --help.
    """
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", exit_code=ExitCode.INTERRUPTED)
    if isinstance(error, DeepSeekAppsError):
        return Failure(str(error), error.help_message, error.exit_code)
    if isinstance(error, TyperException):
        return Failure(error.format_message(), f"See: {command} --help", error.exit_code)
    if _is_local_backend_error(error):
        code = LOCAL_EXIT_CODES.get(type(error).__name__, ExitCode.ERROR)
        return Failure(str(error), getattr(error, "help_message", ""), code)
    if isinstance(error, OSError):
        return Failure(str(error), "Check the path, its permissions and the free space.")
    return Failure(
        f"unexpected {type(error).__name__}: {error}",
        "Run it again with DEEPSEEK_APPS_DEBUG=1 to see the traceback, and report it.",
    )


def _is_local_backend_error(error: BaseException) -> bool:
    return any(cls.__name__ == "LocalBackendError" for cls in type(error).__mro__)
