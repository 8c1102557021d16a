"""What reaches a terminal and what reaches a pipe: exact text, no markup, no control characters."""

from __future__ import annotations

import io

import pytest

from deepseek_apps.answer import TextDelta
from deepseek_apps.cli.failure import Failure
from deepseek_apps.cli.render import Output, make_streams_lenient


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make both streams a terminal; called in the test body because pytest sets them again after fixtures."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    return screen


def test_a_pipe_gets_the_text_unchanged(capsys) -> None:
    Output().stream_piece(TextDelta("content", "a\tb\x1b[31m [red] :smile:\r\n"))
    assert capsys.readouterr().out == "a\tb\x1b[31m [red] :smile:\r\n"


def test_a_terminal_is_not_driven_by_model_text(monkeypatch) -> None:
    terminal = use_terminal(monkeypatch)
    Output().stream_piece(TextDelta("content", "a\tb\x1b]0;title\x07\x9b2J\n"))
    assert terminal.getvalue() == "a\tb]0;title2J\n"


def test_reasoning_is_dimmed_unless_colours_are_off(monkeypatch) -> None:
    terminal = use_terminal(monkeypatch)
    Output().stream_piece(TextDelta("reasoning", "hm"))
    monkeypatch.setenv("NO_COLOR", "1")
    Output().stream_piece(TextDelta("reasoning", "hm"))
    assert terminal.getvalue() == "\x1b[2mhm\x1b[22mhm"


def test_errors_are_not_read_as_markup(capsys) -> None:
    Output().failure(Failure("bad [red]value[/red] \x1b[2J", "do [b]this[/b]"))
    assert capsys.readouterr().err == "error: bad [red]value[/red] [2J\nnext: do [b]this[/b]\n"


def test_tables_are_not_cut_in_a_pipe(capsys) -> None:
    Output().table(("id", "text"), [("a", "long " * 100)])
    assert "long " * 99 in capsys.readouterr().out


def test_json_keeps_chinese_readable(capsys) -> None:
    Output().json({"content": "你好"})
    assert capsys.readouterr().out == '{"content": "你好"}\n'


def test_a_narrow_encoding_loses_letters_not_the_answer(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    make_streams_lenient()
    Output().stream_piece(TextDelta("content", "é你"))
    assert raw.getvalue() == b"\xe9?"
