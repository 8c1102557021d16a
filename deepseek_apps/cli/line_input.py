'''Reads messages for `chat`: one line, or several with a trailing backslash or a """ block.

At a terminal it prompts and lets readline edit; otherwise it only reads. It knows nothing of commands.
'''

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

from deepseek_apps.cli.failure import UsageError
from deepseek_apps.cli.prompt_input import check_text

__all__ = ["LineReader", "Message", "read_message", "terminal_reader"]

FENCE = '"""'
PROMPT, CONTINUATION = "> ", ". "

LineReader = Callable[[str], str]
"""Takes a prompt, returns a line without its end; raises EOFError at the end of input."""


@dataclass(frozen=True, slots=True)
class Message:
    """What the user entered.

    Attributes:
        text: The message, without fences and continuation marks.
        literal: Whether it was a block, in which a leading slash is no command.
    """

    text: str
    literal: bool = False


def read_message(read_line: LineReader) -> Message | None:
    """Return the next message that is not blank, or None when the input ends; an open block ends with it."""
    while True:
        try:
            line = read_line(PROMPT)
        except EOFError:
            return None
        message = _block(line, read_line) if line.lstrip().startswith(FENCE) else _line(line, read_line)
        if message.text.strip():
            return message


def _line(line: str, read_line: LineReader) -> Message:
    lines = []
    while line.endswith("\\"):
        lines.append(line[:-1])
        try:
            line = read_line(CONTINUATION)
        except EOFError:
            line = ""
    return Message("\n".join([*lines, line]))


def _block(line: str, read_line: LineReader) -> Message:
    line = line.lstrip()[len(FENCE) :]
    lines = []
    while not line.rstrip().endswith(FENCE):
        lines.append(line)
        try:
            line = read_line(CONTINUATION)
        except EOFError:
            line = FENCE
    lines.append(line.rstrip()[: -len(FENCE)])
    return Message("\n".join(lines).strip("\n"), literal=True)


def terminal_reader() -> tuple[LineReader, bool]:
    """Return how to read lines from stdin, and whether a person types them.

    The prompt is shown only to a person, on stderr when stdout is not the terminal.
    """
    if not sys.stdin.isatty():
        return _read_piped, False
    if not sys.stdout.isatty():
        return _read_prompting_on_stderr, True
    with contextlib.suppress(ImportError):  # absent on Windows
        import readline  # noqa: F401, PLC0415  importing it is what turns on editing
    return _read_edited, True


def _read_edited(prompt: str) -> str:
    try:
        return check_text(input(prompt), "the line")
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from error


def _read_prompting_on_stderr(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return _read_piped(prompt)


def _read_piped(prompt: str) -> str:
    del prompt
    data = sys.stdin.buffer.readline()
    if not data:
        raise EOFError
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from error


def _not_utf8(error: UnicodeDecodeError) -> UsageError:
    return UsageError(
        f"the line is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}",
        help_message="Set the terminal to UTF-8, or convert what you pipe in: iconv -f GB18030 -t UTF-8",
    )
