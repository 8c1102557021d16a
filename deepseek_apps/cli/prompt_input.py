"""The prompt of `ask`: an argument, piped stdin, or both. Checks text, prints nothing."""

from __future__ import annotations

import re
import sys
from typing import BinaryIO

from deepseek_apps.cli.failure import UsageError

__all__ = ["check_text", "decode_input", "read_prompt"]


def read_prompt(argument: str | None, *, stdin: BinaryIO | None = None) -> str:
    """Join what is piped in and the argument, a blank line between them.

    The pipe comes first: a second question over the same document then begins alike, which is what prefix
    caches find, here and at DeepSeek's.

    Args:
        argument: The prompt argument; None or "-" reads stdin alone.
        stdin: Bytes to read; None is the process's stdin unless that is a terminal.

    Raises:
        UsageError: Both are empty, or one is not valid UTF-8; the message says where.
    """
    if stdin is None and sys.stdin is not None and not sys.stdin.isatty():
        stdin = sys.stdin.buffer
    piped = decode_input(stdin.read(), "stdin").strip("\n") if stdin is not None else ""
    asked = check_text(argument, "PROMPT") if argument not in {None, "-"} else ""
    parts = [part for part in (piped, asked) if part.strip()]
    if not parts:
        raise UsageError(
            "there is no prompt",
            help_message='Pass one: deepseek-apps ask "…", or pipe it in: deepseek-apps ask < file',
        )
    return "\n\n".join(parts)


def decode_input(data: bytes, source: str) -> str:
    """Decode UTF-8 strictly, with or without a byte order mark.

    Raises:
        UsageError: The bytes are something else; the message gives the first bad position.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{source} is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}",
            help_message="Convert it first, for example: iconv -f GB18030 -t UTF-8",
        ) from error


def check_text(text: str, source: str) -> str:
    """Return text, which must hold no lone surrogates (undecodable bytes of the command line become those).

    Raises:
        UsageError: It does; the message gives the first position.
    """
    if found := re.search("[\ud800-\udfff]", text):
        raise UsageError(
            f"{source} is not valid text: {_name(found[0])} at character {found.start()}",
            help_message="Pass it as UTF-8; a terminal or script with another encoding garbles it.",
        )
    return text


def _name(surrogate: str) -> str:
    code = ord(surrogate)
    # surrogateescape puts the undecodable byte 0xNN at U+DCNN.
    return (
        f"undecodable byte 0x{code - 0xDC00:02x}"
        if 0xDC80 <= code <= 0xDCFF
        else f"lone surrogate U+{code:04X}"
    )
