"""What the fake is told to answer: a `Reply` in terms of the model, or a `RawReply` in bytes.

Plain data. How a reply looks on the wire is `_writing`'s and `_chat`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, TypeAlias

__all__ = ["RawReply", "Reply", "ToolCallScript"]

ToolCallScript: TypeAlias = tuple[str, Mapping[str, Any] | str]
"""Name and arguments of a call; a string of arguments is sent as it is, broken JSON included."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model.

    Attributes:
        content: The answer's text. A sequence of strings is streamed one string a chunk; a string is
            streamed token by token.
        reasoning: What it thinks first, given like `content`. Dropped when the request turns thinking off,
            as the API never sends it then; an empty text stands for None when thinking is on.
        tool_calls: Calls that follow the text.
        finish_reason: As on the wire; None is "tool_calls" after calls and "stop" otherwise. An answer that
            `max_tokens` cuts ends with "length" whatever is said here.
        usage: Sent as it is; None counts tokens.
    """

    content: str | Sequence[str] = ""
    _: KW_ONLY
    reasoning: str | Sequence[str] | None = None
    tool_calls: Sequence[ToolCallScript] = ()
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        """The whole content."""
        return "".join(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReply:
    """One answer in bytes.

    Attributes:
        parts: Written one by one.
        status: HTTP status.
        content_type: Left out of the headers when empty.
        headers: Further headers.
    """

    parts: tuple[bytes, ...] = ()
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
