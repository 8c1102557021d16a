"""Streams that keep account of what passes through them. Bytes are neither changed nor held back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import anyio
import httpx2
from anyio import to_thread

from deepseek_apps.routing._call import Call
from deepseek_apps.routing._usage_reader import StreamReader
from deepseek_apps.routing.ledger import Outcome

__all__ = ["AsyncMeteredStream", "MeteredStream", "in_thread", "outcome_of"]


class MeteredStream(httpx2.SyncByteStream):
    """Passes every chunk on as it comes, and ends the call with the stream."""

    def __init__(self, stream: httpx2.SyncByteStream, call: Call) -> None:
        self._stream = stream
        self._call = call
        self._reader = StreamReader()
        self._waiting = True

    def __iter__(self) -> Iterator[bytes]:
        feed = self._reader.feed
        try:
            for chunk in self._stream:
                feed(chunk)
                if self._waiting:
                    self._note_first()
                yield chunk
        except GeneratorExit:
            raise  # close() follows, and knows whether the answer was complete
        except BaseException as error:
            self._end(outcome_of(error))
            raise
        self._end("ok")

    def close(self) -> None:
        """Close it; what was not read counts as abandoned."""
        try:
            self._stream.close()
        finally:
            self._end("abandoned")

    def _note_first(self) -> None:
        if self._reader.events:
            self._waiting = False
            self._call.note_first()

    def _end(self, outcome: Outcome) -> None:
        self._call.end(_final(outcome, self._reader), self._reader)


class AsyncMeteredStream(httpx2.AsyncByteStream):
    """The asynchronous twin of MeteredStream; the row is written in a worker thread."""

    def __init__(self, stream: httpx2.AsyncByteStream, call: Call) -> None:
        self._stream = stream
        self._call = call
        self._reader = StreamReader()
        self._waiting = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        feed = self._reader.feed
        try:
            async for chunk in self._stream:
                feed(chunk)
                if self._waiting:
                    self._note_first()
                yield chunk
        except GeneratorExit:
            raise  # as in the synchronous twin
        except BaseException as error:
            await self._end(outcome_of(error))
            raise
        await self._end("ok")

    async def aclose(self) -> None:
        """Close it; what was not read counts as abandoned."""
        try:
            await self._stream.aclose()
        finally:
            await self._end("abandoned")

    def _note_first(self) -> None:
        if self._reader.events:
            self._waiting = False
            self._call.note_first()

    async def _end(self, outcome: Outcome) -> None:
        if not self._call.ended:
            await in_thread(partial(self._call.end, _final(outcome, self._reader), self._reader))


def _final(outcome: Outcome, reader: StreamReader) -> Outcome:
    """Return how a stream ended; what happens after the whole answer has come does not matter.

    The SDK closes a stream when it has read [DONE], and the asynchronous one first reads what may be left.
    """
    reader.finish()
    if reader.failed:
        return "failed"
    return "ok" if reader.complete else outcome


def outcome_of(error: BaseException) -> Outcome:
    """Return how a call ended whose answer this error interrupted."""
    return "cut" if isinstance(error, Exception) else "abandoned"


async def in_thread(work: Callable[[], object]) -> None:
    """Write without blocking the event loop, and also when the task has been cancelled."""
    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(work)
