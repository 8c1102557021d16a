"""A response body of this process as an httpx2 stream: incremental, with a time-out, cancelled on close.

Knows nothing of engines: a body is any iterator of bytes whose `close()` may be called while another thread
is blocked in `next()`.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar

import anyio
import anyio.to_thread
import httpx2

__all__ = [
    "AsyncBodyStream",
    "Body",
    "BodyHandle",
    "BodyStream",
    "OpenBodies",
    "Watchdog",
    "read_timeout",
    "wait_in_thread",
]

T = TypeVar("T")


class Body(Protocol):
    """Bytes of a response; closing it from any thread stops whatever makes them."""

    def __next__(self) -> bytes:
        """Wait for the next bytes; StopIteration at the end or once closed."""

    def close(self) -> None:
        """Stop; idempotent."""


class BodyHandle:
    """Owns the body of one response, from before it exists until it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._body: Body | None = None
        self._closed = False
        self._ended = False

    def attach(self, body: Body) -> None:
        """Take the body over; it is closed at once if the caller has already gone."""
        with self._lock:
            self._body = body
            closed = self._closed
        if closed:
            body.close()

    def close(self) -> None:
        """Cancel; from any thread, as often as you like."""
        with self._lock:
            self._closed = True
            body = self._body
        if body is not None:
            body.close()

    def read(self) -> bytes | None:
        """Wait for the next bytes; None at the end.

        Raises:
            httpx2.ReadError: The body failed, or was closed before its end.
        """
        if self._ended or self._body is None:
            return None
        try:
            return next(self._body)
        except StopIteration:
            if self._closed:
                raise httpx2.ReadError("the response was closed while it was being read") from None
            self._ended = True
            return None
        except Exception as error:
            raise httpx2.ReadError(f"the answer broke off: {error}") from error


class OpenBodies:
    """The responses a transport has given out and not finished, so that closing it cancels them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: weakref.WeakSet[BodyHandle] = weakref.WeakSet()

    def new(self) -> BodyHandle:
        """Return the handle for one more response."""
        handle = BodyHandle()
        with self._lock:
            self._handles.add(handle)
        return handle

    def close(self) -> None:
        """Cancel them all."""
        with self._lock:
            handles = list(self._handles)
        for handle in handles:
            handle.close()


class Watchdog:
    """Calls `on_expiry` when one wait inside the block outlasts the limit.

    One sleeping thread per block, however many waits it sees.

    Args:
        seconds: Longest single wait; None watches nothing.
        on_expiry: Must make the wait end.
    """

    def __init__(self, seconds: float | None, on_expiry: Callable[[], None]) -> None:
        self._seconds = seconds
        self._on_expiry = on_expiry
        self._deadline = math.inf
        self._stop = threading.Event()
        self._expired = False

    def begin_wait(self) -> None:
        """Start the clock."""
        self._deadline = math.inf if self._seconds is None else time.monotonic() + self._seconds

    def end_wait(self) -> None:
        """Stop the clock: the reader's own time does not count."""
        self._deadline = math.inf

    def check(self) -> None:
        """Raise httpx2.ReadTimeout if a wait was too long."""
        if self._expired:
            raise httpx2.ReadTimeout(f"no byte for {self._seconds:g} s")

    def stop(self) -> None:
        """Watch no more; idempotent."""
        self._stop.set()

    def __enter__(self) -> Self:
        self.begin_wait()
        if self._seconds is not None:
            threading.Thread(
                target=self._sleep, args=(self._seconds,), name="read-timeout", daemon=True
            ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def _sleep(self, seconds: float) -> None:
        # A wait begun while this thread sleeps ends no earlier than the sleep does, so none is missed.
        while not self._stop.wait(min(max(self._deadline - time.monotonic(), 0.0), seconds)):
            if time.monotonic() >= self._deadline:
                self._expired = True
                self._on_expiry()
                return


class BodyStream(httpx2.SyncByteStream):
    """Hands the bytes on as they come, in the reader's own thread."""

    def __init__(self, handle: BodyHandle, timeout: float | None) -> None:
        self._handle = handle
        self._watchdog = Watchdog(timeout, handle.close)

    def __iter__(self) -> Iterator[bytes]:
        try:
            with self._watchdog:
                while (chunk := self._read()) is not None:
                    yield chunk
        finally:
            self._handle.close()

    def close(self) -> None:
        """Cancel what is still running."""
        self._handle.close()
        # A reader that stops at [DONE] leaves the generator above suspended until it is collected.
        self._watchdog.stop()

    def _read(self) -> bytes | None:
        self._watchdog.begin_wait()
        try:
            return self._handle.read()
        except httpx2.ReadError:
            self._watchdog.check()
            raise
        finally:
            self._watchdog.end_wait()


class AsyncBodyStream(httpx2.AsyncByteStream):
    """Hands the bytes on as they come; each wait is in a thread that a cancelled task leaves behind."""

    def __init__(self, handle: BodyHandle, timeout: float | None) -> None:
        self._handle = handle
        self._timeout = timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (chunk := await wait_in_thread(self._handle.read, self._timeout)) is not None:
                yield chunk
        finally:
            self._handle.close()

    async def aclose(self) -> None:
        """Cancel what is still running."""
        self._handle.close()


async def wait_in_thread(function: Callable[[], T], timeout: float | None) -> T:
    """Run a blocking function in a thread; a cancelled caller stops waiting at once.

    Raises:
        httpx2.ReadTimeout: It took longer than `timeout` seconds.
    """
    try:
        with anyio.fail_after(timeout):
            # A limiter of its own: streams wait long, and must not use up the event loop's shared threads.
            return await anyio.to_thread.run_sync(
                function, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )
    except TimeoutError:
        raise httpx2.ReadTimeout(f"no byte for {timeout:g} s") from None


def read_timeout(request: httpx2.Request) -> float | None:
    """Return the seconds the request allows between two bytes; None is no limit."""
    timeout = request.extensions.get("timeout", {}).get("read")
    return None if timeout is None else float(timeout)
