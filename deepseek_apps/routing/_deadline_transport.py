"""Transports that end a call at its deadline, whatever it waits for; the deadline itself is deadline.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import httpx2

from deepseek_apps.routing.deadline import Deadline, Interruption, start_deadline

__all__ = ["AsyncDeadlineTransport", "DeadlineTransport"]


class DeadlineTransport(httpx2.BaseTransport):
    """Ends calls at their deadlines.

    Up to the reply's headers, each wait is cut to the time that is left. From then on a timer shuts the
    connection down, so that a reader is woken up.

    Args:
        inner: What makes the calls.
        default: Seconds for requests that name none; None is no limit.
    """

    def __init__(self, inner: httpx2.BaseTransport, default: float | None = None) -> None:
        self._inner = inner
        self._default = default

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Make a call; raises DeadlineExceededError when its time is over, also while its body is read."""
        deadline = start_deadline(request, self._default)
        if deadline is None:
            return self._inner.handle_request(request)
        deadline.check()
        try:
            response = self._inner.handle_request(request)
        except httpx2.TransportError as error:
            if deadline.remaining() <= 0:
                raise deadline.error() from error
            raise
        # One that was read on the way is over, and nobody would stop its timer.
        if isinstance(response.stream, httpx2.SyncByteStream) and not response.is_closed:
            response.stream = _DeadlineStream(response.stream, Interruption(deadline, response))
        return response

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


class _DeadlineStream(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, interruption: Interruption) -> None:
        self._stream = stream
        self._interruption = interruption
        interruption.__enter__()

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                self._interruption.check()
                yield chunk
        except httpx2.TransportError:
            # A read's own time-out is cut to the deadline, and may come before the timer.
            self._interruption.check(failed=True)
            raise
        finally:
            self._interruption.stop()
        # A body without a length ends like this when its connection is shut down.
        self._interruption.check()

    def close(self) -> None:
        self._interruption.stop()
        self._stream.close()


class AsyncDeadlineTransport(httpx2.AsyncBaseTransport):
    """Ends calls at their deadlines by cancelling what they wait for.

    Args:
        inner: What makes the calls.
        default: Seconds for requests that name none; None is no limit.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, default: float | None = None) -> None:
        self._inner = inner
        self._default = default

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Make a call; raises DeadlineExceededError when its time is over, also while its body is read."""
        deadline = start_deadline(request, self._default)
        if deadline is None:
            return await self._inner.handle_async_request(request)
        deadline.check()
        try:
            with anyio.fail_after(deadline.remaining()):
                response = await self._inner.handle_async_request(request)
        except (TimeoutError, httpx2.TransportError) as error:
            if deadline.remaining() <= 0:
                raise deadline.error() from error
            raise
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _AsyncDeadlineStream(response.stream, deadline)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _AsyncDeadlineStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        while True:
            try:
                # Around one wait only: the reader's own work between two chunks must not be cancelled.
                with anyio.fail_after(self._deadline.remaining()):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except (TimeoutError, httpx2.TransportError) as error:
                if self._deadline.remaining() <= 0:
                    raise self._deadline.error() from error
                raise
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
