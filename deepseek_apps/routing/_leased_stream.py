"""Response bodies that hold a place at a replica until they end, break or are closed."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Iterator

import httpx2

from deepseek_apps.routing.replicas import Lease

__all__ = ["AsyncLeasedStream", "LeasedStream"]


class LeasedStream(httpx2.SyncByteStream):
    """Gives out what was held back, then the rest.

    Args:
        head: What has been read already.
        chunks: Reads the rest.
        stream: Closes the response.
        lease: Given back at the end, however that comes, also when nobody closes the response.
    """

    def __init__(
        self, head: list[bytes], chunks: Iterator[bytes], stream: httpx2.SyncByteStream, lease: Lease
    ) -> None:
        self._head = head
        self._chunks = chunks
        self._stream = stream
        self._lease = lease
        weakref.finalize(self, lease.release)

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._head
            yield from self._chunks
        except httpx2.TransportError:
            self._lease.fail(hard=True)
            raise
        finally:
            self._lease.release()

    def close(self) -> None:
        """Stop reading."""
        self._stream.close()
        self._lease.release()


class AsyncLeasedStream(httpx2.AsyncByteStream):
    """The asynchronous twin of LeasedStream."""

    def __init__(
        self,
        head: list[bytes],
        chunks: AsyncIterator[bytes],
        stream: httpx2.AsyncByteStream,
        lease: Lease,
    ) -> None:
        self._head = head
        self._chunks = chunks
        self._stream = stream
        self._lease = lease
        weakref.finalize(self, lease.release)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self._head:
                yield chunk
            async for chunk in self._chunks:
                yield chunk
        except httpx2.TransportError:
            self._lease.fail(hard=True)
            raise
        finally:
            self._lease.release()

    async def aclose(self) -> None:
        """Stop reading."""
        try:
            await self._stream.aclose()
        finally:
            self._lease.release()
