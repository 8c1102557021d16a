"""Errors of deepseek_apps: what went wrong, the next step, and the exit code a command should end with.

The clients raise the openai SDK's own exceptions for what a backend answers; `from_openai_error` turns any
of them into this tree. Importing this module loads nothing but the standard library.

DeepSeekAppsError              exit 1
  ├─ SettingsError             exit 2    an argument, variable or config file is wrong (yours to fix)
  ├─ BudgetExceededError       exit 4    the call would cost more than the budget leaves; it was not made
  ├─ OutputError               exit 1    the answer is complete but unusable
  │    ├─ ToolArgumentsInvalidError       arguments of a tool call do not fit its schema
  │    └─ StructuredOutputInvalidError    the answer does not fit the schema, after one repair
  └─ BackendError              exit 1    a backend refused, failed or could not be reached
       ├─ AuthenticationError       3    401, 403, or no key at all
       ├─ InsufficientBalanceError  4    402
       ├─ RateLimitedError          4    429                                      retryable
       ├─ ContextOverflowError      5    400, prompt and answer exceed the context
       ├─ InvalidRequestError       1    400, 413, 415, 422
       ├─ NotFoundError             1    404, 405: a model or a route
       ├─ OverloadedError           1    500, 502, 503, 504, and answers given up half-way   retryable
       ├─ UnreachableError          1    no connection, or it broke                retryable
       └─ TimedOutError           124    too long without a byte                   retryable
            └─ DeadlineExceededError     the whole call took too long
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BudgetExceededError",
    "ContextOverflowError",
    "DeadlineExceededError",
    "DeepSeekAppsError",
    "InsufficientBalanceError",
    "InvalidRequestError",
    "NotFoundError",
    "OutputError",
    "OverloadedError",
    "RateLimitedError",
    "SettingsError",
    "StructuredOutputInvalidError",
    "TimedOutError",
    "ToolArgumentsInvalidError",
    "UnreachableError",
    "from_openai_error",
]


class DeepSeekAppsError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
        exit_code: What a command that fails with this error ends with.
        retryable: Whether the same request may succeed later.
        help_message: The next step, one sentence; printed on its own line by the CLI.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, help_message: str = "") -> None:
        super().__init__(message)
        self.help_message = help_message


class SettingsError(DeepSeekAppsError):
    """An argument, an environment variable or the config file has a value we cannot use."""

    exit_code = 2


class BudgetExceededError(DeepSeekAppsError):
    """A call was stopped before it was made, because it could cost more than its budget leaves."""

    exit_code = 4


class OutputError(DeepSeekAppsError):
    """The model's answer is complete and cannot be used as it was asked for.

    Attributes:
        output: The answer's text, as it came.
    """

    def __init__(self, message: str, *, output: str = "", help_message: str = "") -> None:
        super().__init__(message, help_message=help_message)
        self.output = output


class ToolArgumentsInvalidError(OutputError):
    """The arguments of a tool call are no JSON object, or do not fit the tool's schema."""


class StructuredOutputInvalidError(OutputError):
    """The answer does not fit the schema that was asked for, and one round of repair did not help."""


class BackendError(DeepSeekAppsError):
    """A backend refused the request, failed, or could not be reached.

    Attributes:
        status: HTTP status, None when there was no answer.
        request_id: The backend's trace id for its support, None when it sent none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        help_message: str = "",
    ) -> None:
        super().__init__(message, help_message=help_message)
        self.status = status
        self.request_id = request_id


class AuthenticationError(BackendError):
    """The key is missing, wrong, or not allowed to do this."""

    exit_code = 3


class InsufficientBalanceError(BackendError):
    """The account has run out of money."""

    exit_code = 4


class RateLimitedError(BackendError):
    """Too many requests at once."""

    exit_code = 4
    retryable = True


class ContextOverflowError(BackendError):
    """The prompt and the requested answer do not fit the model's context."""

    exit_code = 5


class InvalidRequestError(BackendError):
    """The backend understood the request and refuses it as it stands."""


class NotFoundError(BackendError):
    """The backend has no such model or route."""


class OverloadedError(BackendError):
    """The backend failed or gave up; nothing is wrong with the request."""

    retryable = True


class UnreachableError(BackendError):
    """There is no connection to the backend, or it broke before the answer was complete."""

    retryable = True


class TimedOutError(BackendError):
    """The backend sent nothing for longer than the time-out."""

    exit_code = 124
    retryable = True


class DeadlineExceededError(TimedOutError):
    """The call was not over by its deadline; unlike after a silence, there is no time left to ask again."""

    retryable = False


def from_openai_error(exc: Exception) -> DeepSeekAppsError:
    """Turn an exception of the openai SDK or of httpx2 into ours, with a next step.

    Pure: it neither raises nor logs. Raise the result `from exc` to keep the original.

    Args:
        exc: What the SDK raised. Errors of ours are returned as they are.

    Returns:
        The nearest class of this module; DeepSeekAppsError for an exception of neither library.
    """
    if isinstance(exc, DeepSeekAppsError):
        return exc
    # Lazy: the SDK costs half a second, and whoever has its exception has paid for it already.
    from deepseek_apps._error_mapping import map_error  # noqa: PLC0415

    return map_error(exc)
