"""One generation becoming the bytes of a reply, streamed or whole, and what happens when it breaks.

Shared by chat and completions; what a chunk looks like is the turn's business (chat_turn.py, fim_turn.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from local_backend.errors import EngineStoppedError
from local_backend.local_engine import Generation
from local_backend.sequence import SequenceOutput
from local_backend.server import sse
from local_backend.server.messages import BrokenAnswerError, ByteStream, Response
from local_backend.server.replies import JSON

__all__ = ["Answer", "Turn"]

_STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class Turn(Protocol):
    """Turns the tokens of one generation into chunks of one dialect, and folds them into a whole reply."""

    @property
    def finished(self) -> bool:
        """Whether the reply is complete; a stop string ends it before the engine does."""

    def push(self, output: SequenceOutput) -> list[str]:
        """Take one output; return the chunks (JSON) that it completes."""

    def give_up(self) -> list[str]:
        """End a reply the engine could not finish; return its last chunks."""

    def whole(self) -> str:
        """Return all chunks so far folded into one reply (JSON)."""


class Answer:
    """Runs a turn over a generation.

    Args:
        generation: Tokens from the engine.
        turn: Makes chunks of them.
        fail: Logs an error and gives the reply for it, should nothing have been sent yet.
    """

    def __init__(self, generation: Generation, turn: Turn, fail: Callable[[Exception], Response]) -> None:
        self._generation = generation
        self._turn = turn
        self._fail = fail
        self._cancelled = False

    def response(self, *, stream: bool) -> Response:
        """Return the reply; its body runs the generation as it is read."""
        source = self._stream() if stream else self._whole()
        headers = dict(_STREAM_HEADERS) if stream else {"content-type": JSON}
        return Response(status=200, headers=headers, body=ByteStream(source, self.cancel))

    def cancel(self) -> None:
        """Stop generating; a blocked reader ends."""
        self._cancelled = True
        self._generation.cancel()

    def _stream(self) -> Iterator[bytes]:
        sent = False
        try:
            for chunk in self._chunks():
                yield sse.event(chunk)
                sent = True
        except Exception as error:
            last_words = [*(sse.event(chunk) for chunk in self._turn.give_up()), sse.DONE]
            reply = self._fail(error)
            if not sent:
                raise BrokenAnswerError(reply, last_words) from error
            yield from last_words
        else:
            yield sse.DONE

    def _whole(self) -> Iterator[bytes]:
        try:
            for _ in self._chunks():
                pass
        except Exception as error:
            self._turn.give_up()
            raise BrokenAnswerError(self._fail(error), [self._turn.whole().encode()]) from error
        yield self._turn.whole().encode()

    def _chunks(self) -> Iterator[str]:
        try:
            for output in self._generation:
                if self._cancelled:
                    return
                if output.finish_reason == "cancelled":
                    break
                yield from self._turn.push(output)
                if self._turn.finished:
                    return
            if not self._cancelled:
                raise EngineStoppedError(
                    "the engine stopped before the answer was complete", help_message="Try again."
                )
        finally:
            self._generation.cancel()
