"""How prompts and chat messages are read: arguments, pipes, continued lines, blocks, bad bytes."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.cli.failure import UsageError
from deepseek_apps.cli.line_input import Message, read_message
from deepseek_apps.cli.prompt_input import check_text, decode_input, read_prompt

LINES = st.lists(st.text(st.characters(exclude_characters='\\"\r\n', codec="utf-8"), max_size=8), min_size=1)


def reader(*lines: str) -> Callable[[str], str]:
    left = iter(lines)

    def read(prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return read


@pytest.mark.parametrize(
    ("argument", "piped", "prompt"),
    [
        ("Explain", "", "Explain"),
        (None, "text\n", "text"),
        ("-", "text", "text"),
        ("Explain", "line 1\nline 2\n", "line 1\nline 2\n\nExplain"),
        ("说明", "\ufeff内容", "内容\n\n说明"),
    ],
)
def test_argument_and_stdin_are_joined(argument: str | None, piped: str, prompt: str) -> None:
    assert read_prompt(argument, stdin=io.BytesIO(piped.encode())) == prompt


@pytest.mark.parametrize("argument", [None, "", "-", "  "])
def test_no_prompt_at_all_is_a_usage_error(argument: str | None) -> None:
    with pytest.raises(UsageError, match="no prompt") as caught:
        read_prompt(argument, stdin=io.BytesIO(b" \n"))
    assert caught.value.exit_code == 2


def test_bytes_that_are_not_utf8_name_their_position() -> None:
    with pytest.raises(UsageError, match="stdin is not UTF-8: byte 0xc4 at position 3"):
        decode_input(b"abc" + "你".encode("gb18030"), "stdin")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ok \udcff", "undecodable byte 0xff at character 3"),
        ("\ud800", "lone surrogate U\\+D800 at character 0"),
    ],
)
def test_lone_surrogates_name_their_position(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        check_text(text, "PROMPT")


def test_large_text_is_checked_quickly() -> None:
    assert len(check_text("a" * 10_000_000, "PROMPT")) == 10_000_000


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["", "  ", "hello"], Message("hello")),
        (["a\\", "b\\", "c"], Message("a\nb\nc")),
        (["a\\"], Message("a\n")),
        (['"""', "/exit", "two", '"""'], Message("/exit\ntwo", literal=True)),
        (['"""one line"""'], Message("one line", literal=True)),
        (['"""open', "block"], Message("open\nblock", literal=True)),
        ([], None),
    ],
)
def test_messages_may_take_several_lines(lines: list[str], message: Message | None) -> None:
    assert read_message(reader(*lines)) == message


@given(LINES)
def test_a_block_gives_back_what_was_typed(lines: list[str]) -> None:
    text = "\n".join(lines)
    expected = Message(text.strip("\n"), literal=True) if text.strip() else None
    assert read_message(reader('"""', *lines, '"""')) == expected


@given(LINES)
def test_continued_lines_give_back_what_was_typed(lines: list[str]) -> None:
    continued = [line + "\\" for line in lines[:-1]] + lines[-1:]
    text = "\n".join(lines)
    if text.strip() and not lines[0].lstrip().startswith('"""'):
        assert read_message(reader(*continued)) == Message(text)
