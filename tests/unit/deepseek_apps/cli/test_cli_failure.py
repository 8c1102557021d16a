"""Every error has one exit code, one message and a next step; bad command lines are usage errors."""

from __future__ import annotations

import pytest

from deepseek_apps import errors
from deepseek_apps.cli.failure import ExitCode, Failure, UsageError, explain
from local_backend import errors as local_errors

TABLE = [
    (errors.DeepSeekAppsError, ExitCode.ERROR),
    (errors.SettingsError, ExitCode.USAGE),
    (UsageError, ExitCode.USAGE),
    (errors.AuthenticationError, ExitCode.AUTHENTICATION),
    (errors.InsufficientBalanceError, ExitCode.BALANCE_OR_RATE),
    (errors.RateLimitedError, ExitCode.BALANCE_OR_RATE),
    (errors.ContextOverflowError, ExitCode.CONTEXT_OVERFLOW),
    (errors.TimedOutError, ExitCode.TIMED_OUT),
    (errors.UnreachableError, ExitCode.ERROR),
    (local_errors.RequestTooLongError, ExitCode.CONTEXT_OVERFLOW),
    (local_errors.UnknownModelError, ExitCode.USAGE),
    (local_errors.DiskSpaceError, ExitCode.ERROR),
    (local_errors.HashMismatchError, ExitCode.ERROR),
]


@pytest.mark.parametrize(("kind", "code"), TABLE)
def test_named_errors_keep_message_next_step_and_code(kind, code) -> None:
    assert explain(kind("what", help_message="do this")) == Failure("what", "do this", code)


def test_interrupt_and_surprises() -> None:
    assert explain(KeyboardInterrupt()).exit_code == 130
    surprise = explain(RuntimeError("boom"))
    assert surprise.exit_code == 1
    assert surprise.message == "unexpected RuntimeError: boom"
    assert "DEEPSEEK_APPS_DEBUG" in surprise.help_message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ask", "--nonsense"), "No such option: --nonsense"),
        (("nonsense",), "No such command 'nonsense'"),
        (("ask", "hi", "--backend", "cloud"), "expected one of auto"),
        (("ask", "hi", "-t", "3"), "should be less than or equal to 2"),
        (("ask", "hi", "--max-tokens", "0"), "should be greater than or equal to 1"),
        (("ask",), "there is no prompt"),
        (("ask", "bad \udcff"), "undecodable byte 0xff at character 4"),
        (("ask", "hi", "-s", "\udcff"), "--system is not valid text"),
        (("models", "pull", "startr"), "unknown model 'startr'"),
        (("config", "set", "colour", "red"), "colour"),
        (("chat", "--id", "zz"), "no conversation has the id 'zz'"),
    ],
)
def test_bad_command_lines_end_with_2(cli, arguments, message) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "\nnext: " in result.err


def test_stdin_that_is_not_utf8_ends_with_2(cli) -> None:
    result = cli("ask", stdin="你好".encode("gb18030"))
    assert result.code == 2
    assert "stdin is not UTF-8: byte 0xc4 at position 0" in result.err


def test_no_command_shows_the_help(cli) -> None:
    result = cli()
    assert result.code == 0
    assert "Usage: deepseek-apps" in result.out


def test_debug_shows_the_traceback(cli, monkeypatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_DEBUG", "1")
    with pytest.raises(UsageError):
        cli("ask")
