"""How a test tells the fake what to answer and what goes wrong: one method for each, all chainable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from deepseek_apps.testing._faults import CutKind
from deepseek_apps.testing._script import Script
from deepseek_apps.testing.failures import failure
from deepseek_apps.testing.replies import RawReply, Reply, ToolCallScript

__all__ = ["Scripting"]

_FINISHES = ("content_filter", "insufficient_system_resource")


class Scripting:
    """The scripting half of `FakeDeepSeek`: answers are queued, faults wait for the next queued answer."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def reply(
        self,
        content: str | Sequence[str] | Reply = "",
        *,
        reasoning: str | Sequence[str] | None = None,
        tool_calls: Sequence[ToolCallScript] = (),
        finish_reason: str | None = None,
        usage: Mapping[str, Any] | None = None,
        times: int = 1,
    ) -> Self:
        """Queue an answer for a request for text; the arguments are those of `Reply`.

        Args:
            content: Text, or the texts of the chunks, or a whole `Reply` in place of the other arguments.
            reasoning: What the model thinks first; left out when the request turns thinking off.
            tool_calls: Pairs of name and arguments; a string of arguments is sent as it is.
            finish_reason: As on the wire.
            usage: Sent as it is, instead of counted tokens.
            times: How many requests get it.
        """
        made = content if isinstance(content, Reply) else Reply(
            content, reasoning=reasoning, tool_calls=tool_calls, finish_reason=finish_reason, usage=usage
        )  # fmt: skip
        self._script.push(made, route=None, times=times)
        return self

    def fail(
        self, kind: int | str, message: str | None = None, *, route: str | None = None, times: int = 1
    ) -> Self:
        """Queue a failure.

        Args:
            kind: An HTTP status, or a name: those of `deepseek_apps.testing.failures.FAILURES`, and
                "content_filter" and "insufficient_system_resource", which end an answer half-way.
            message: Instead of the documented one.
            route: Which requests it is for, such as "/models"; None is every request for text.
            times: How many requests get it.

        Raises:
            ValueError: The name is unknown.
        """
        if kind in _FINISHES:
            half = Reply(message or "This answer ends half-", finish_reason=str(kind))
            self._script.push(half, route=route, times=times)
        else:
            self._script.push(failure(kind, message), route=route, times=times)
        return self

    def raw(
        self,
        *parts: bytes,
        status: int = 200,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        route: str | None = None,
        times: int = 1,
    ) -> Self:
        """Queue an answer in bytes, each part written on its own; the request is not checked."""
        made = RawReply(parts=parts, status=status, content_type=content_type, headers=headers or {})
        self._script.push(made, route=route, times=times)
        return self

    def delay(self, seconds: float, *, per_chunk: float = 0.0) -> Self:
        """Wait before the next answer's first byte, and after each of its chunks."""
        self._script.mistreat(delay=seconds, per_chunk=per_chunk)
        return self

    def keep_alive(self, count: int, *, every: float = 0.0) -> Self:
        """Begin the next answer as if it were queued: comments in a stream, blank lines before JSON.

        Args:
            count: How many.
            every: Seconds before each.
        """
        self._script.mistreat(keep_alives=count, keep_alive_every=every)
        return self

    def cut(self, after_chunks: int | None = None, *, how: CutKind = "connection") -> Self:
        """Break off the next answer.

        Args:
            after_chunks: How many chunks of a stream arrive, the first one without text included; None is
                all but "[DONE]". Of an answer that is no stream, one half arrives.
            how: The "connection" ends between two chunks or inside a "half_chunk"; "no_done" ends the
                stream as if it were complete, but for "[DONE]".
        """
        self._script.mistreat(cut=how, cut_after=after_chunks)
        return self

    def hang(self, after_chunks: int = 0) -> Self:
        """Send so many chunks of the next answer, then nothing until the client goes or the fake ends."""
        self._script.mistreat(hang_after=after_chunks)
        return self

    def disconnect(self) -> Self:
        """Close the connection instead of giving the next answer."""
        self._script.mistreat(disconnect=True)
        return self

    def empty_body(self) -> Self:
        """Give the next answer's headers and no body."""
        self._script.mistreat(empty_body=True)
        return self

    def content_type(self, content_type: str) -> Self:
        """Give the next answer a wrong content type, such as "application/octet-stream"."""
        self._script.mistreat(content_type=content_type)
        return self

    def assert_all_used(self) -> None:
        """Check that every scripted answer and fault has been asked for.

        Raises:
            AssertionError: Some is left; the message lists them.
        """
        left = self._script.unused()
        if left:
            raise AssertionError("not asked for: " + "; ".join(left))
