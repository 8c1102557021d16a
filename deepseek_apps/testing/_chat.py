"""A written chat answer as chunks and as a whole, in the shapes and the order of the API. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deepseek_apps.testing._shapes import DONE, Head, dump, event, logprob_entries
from deepseek_apps.testing._writing import Piece, Written

__all__ = ["ChatShape"]

_CHUNK = "chat.completion.chunk"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatShape:
    """Renders one answer.

    Attributes:
        head: What every chunk repeats.
        written: The answer.
        usage: Its usage.
        call_ids: One for each call.
        thinking: Whether the request has thinking on, which shapes the deltas.
        reasons: Whether reasoning comes first; not when a prefix has ended it.
        include_usage: Whether other chunks say `"usage": null`.
        trailing_usage: Send usage in a chunk of its own, without choices.
        top_logprobs: Alternatives a token; None for no log probabilities.
    """

    head: Head
    written: Written
    usage: Mapping[str, Any]
    call_ids: tuple[str, ...] = ()
    thinking: bool = False
    reasons: bool = False
    include_usage: bool = False
    trailing_usage: bool = False
    top_logprobs: int | None = None

    def events(self) -> Iterator[bytes]:
        """Give the stream, event by event, "[DONE]" included."""
        yield self._event(self._first())
        for piece in self.written.pieces:
            yield self._event(self._delta(piece), logprobs=self._logprobs((piece,)))
        last = {"content": "", "reasoning_content": None} if self.thinking else {"content": ""}
        separate = self.trailing_usage and self.include_usage
        more = {} if separate or self.trailing_usage else {"usage": self.usage}
        yield self._event(last, finish_reason=self.written.finish_reason, **more)
        if separate:
            yield event(self.head.chunk(_CHUNK, [], usage=self.usage))
        yield DONE

    def whole(self) -> bytes:
        """Return the reply of a request that does not stream."""
        message: dict[str, Any] = {"role": "assistant", "content": self.written.text("content")}
        if self.reasons:
            message["reasoning_content"] = self.written.text("reasoning_content")
        if calls := list(self._calls()):
            message["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": message,
            "logprobs": self._logprobs(self.written.pieces),
            "finish_reason": self.written.finish_reason,
        }
        return dump(self.head.whole("chat.completion", [choice], self.usage))

    def _event(
        self, delta: Mapping[str, Any], *, finish_reason: str | None = None, logprobs: Any = None, **more: Any
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        unused = {"usage": None} if self.include_usage else {}
        return event(self.head.chunk(_CHUNK, [choice], **(unused | more)))

    def _first(self) -> dict[str, Any]:
        if not self.thinking:
            return {"role": "assistant", "content": ""}
        if self.reasons:
            return {"role": "assistant", "content": None, "reasoning_content": ""}
        return {"role": "assistant", "content": "", "reasoning_content": None}

    def _delta(self, piece: Piece) -> dict[str, Any]:
        if piece.kind == "reasoning_content":
            return {"content": None, "reasoning_content": piece.text}
        if piece.kind == "content":
            return {"content": piece.text} | ({"reasoning_content": None} if self.thinking else {})
        if piece.kind == "arguments":
            return {"tool_calls": [{"index": piece.index, "function": {"arguments": piece.text}}]}
        return {"tool_calls": [self._call(piece, "")]}

    def _call(self, piece: Piece, arguments: str) -> dict[str, Any]:
        function = {"name": piece.text, "arguments": arguments}
        return {
            "index": piece.index,
            "id": self.call_ids[piece.index],
            "type": "function",
            "function": function,
        }

    def _calls(self) -> Iterator[dict[str, Any]]:
        pieces = self.written.pieces
        for begin in (piece for piece in pieces if piece.kind == "call"):
            parts = (p.text for p in pieces if p.kind == "arguments" and p.index == begin.index)
            yield self._call(begin, "".join(parts))

    def _logprobs(self, pieces: tuple[Piece, ...]) -> dict[str, Any] | None:
        if self.top_logprobs is None:
            return None
        lists = {
            kind: logprob_entries((p.text for p in pieces if p.kind == kind), self.top_logprobs)
            for kind in ("content", "reasoning_content")
        }
        return {kind: entries for kind, entries in lists.items() if entries} or None
