"""Sends one response over ASGI, chunk by chunk from a worker thread, keeping silent connections alive."""

from __future__ import annotations

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from starlette.types import Send

from local_backend.server import sse
from local_backend.server.messages import ByteStream, Response

__all__ = ["HttpReply"]


class HttpReply:
    """Sends one response.

    The status waits for the first bytes of the body, so that a failure before them gets its own. After
    `keep_alive_seconds` of silence it is sent as it stands, followed by a sign of life.

    Args:
        response: What `handle` gave.
        send: ASGI's send.
        keep_alive_seconds: Longest silence.
    """

    def __init__(self, response: Response, send: Send, *, keep_alive_seconds: float) -> None:
        self._response = response
        self._send = send
        self._keep_alive_seconds = keep_alive_seconds
        self._keep_alive = sse.KEEP_ALIVE if response.streaming else sse.JSON_KEEP_ALIVE
        self._lock = anyio.Lock()
        self._started = False
        self._num_sent = 0

    async def send_all(self, threads: CapacityLimiter) -> None:
        """Send status, headers and body.

        Args:
            threads: Lends the thread that reads the body.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._stay_alive)
            await to_thread.run_sync(self._pump, limiter=threads)
            group.cancel_scope.cancel()
        await self._body(b"", more=False)

    def _pump(self) -> None:
        """Read the body in this thread, sending from the event loop's."""
        for chunk in from_thread.run(self._begin, self._response.settled()):
            from_thread.run(self._body, chunk)

    async def _begin(self, settled: Response) -> ByteStream:
        """Send the settled status; if one has been sent, the body says in its own way what went wrong."""
        async with self._lock:
            if not self._started:
                self._response = settled
                await self._start()
        return self._response.body

    async def _start(self) -> None:
        self._started = True
        headers = [(name.encode(), value.encode()) for name, value in self._response.headers.items()]
        await self._send({"type": "http.response.start", "status": self._response.status, "headers": headers})

    async def _body(self, chunk: bytes, *, more: bool = True) -> None:
        async with self._lock:
            self._num_sent += 1
            await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def _stay_alive(self) -> None:
        if "content-length" in self._response.headers:
            return
        while True:
            num_sent = self._num_sent
            await anyio.sleep(self._keep_alive_seconds)
            if num_sent != self._num_sent:
                continue
            async with self._lock:
                if not self._started:
                    await self._start()
                await self._send({"type": "http.response.body", "body": self._keep_alive, "more_body": True})
