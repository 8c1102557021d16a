"""The request handler behind a socket: an ASGI app that streams without buffering.

Only HTTP lives here: body limit, host check, and clients that go away. Sending a reply is http_reply.py.
"""

from __future__ import annotations

from collections.abc import Collection

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from local_backend.server.handler import RequestHandler
from local_backend.server.http_reply import HttpReply
from local_backend.server.messages import Request, Response

__all__ = ["MAX_BODY_BYTES", "create_app"]

MAX_BODY_BYTES = 48 * 1024 * 1024
_TEXT = "text/plain; charset=utf-8"
_MAX_THREADS = 256  # one per request that waits for the engine; the engine itself decides how many run


def create_app(
    handler: RequestHandler, *, allowed_hosts: Collection[str] | None = None, keep_alive_seconds: float = 5.0
) -> Starlette:
    """Mount a handler on ASGI.

    Args:
        handler: Answers the requests.
        allowed_hosts: Accepted names in the `Host` header, without port; None accepts all. A server
            without an API key needs it, or any web page could reach it by a name that resolves here.
        keep_alive_seconds: A sign of life is sent whenever the reply is silent for so long: a comment in
            a stream, a blank line before a JSON reply.
    """
    endpoint = _Endpoint(handler, allowed_hosts, keep_alive_seconds)
    return Starlette(routes=[Mount("", app=endpoint)])


class _Endpoint:
    """Reads one request, has it answered in a worker thread, and closes the answer if the client leaves."""

    def __init__(
        self, handler: RequestHandler, allowed_hosts: Collection[str] | None, keep_alive_seconds: float
    ) -> None:
        self._handler = handler
        self._allowed_hosts = allowed_hosts
        self._keep_alive_seconds = keep_alive_seconds
        self._threads: CapacityLimiter | None = None  # belongs to an event loop, so made inside it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._threads = threads = self._threads or CapacityLimiter(_MAX_THREADS)
        http = HttpRequest(scope, receive)
        try:
            answer = await self._read(http)
        except ClientDisconnect:
            return
        if isinstance(answer, Request):
            answer = await to_thread.run_sync(self._handler.handle, answer, limiter=threads)
        reply = HttpReply(answer, send, keep_alive_seconds=self._keep_alive_seconds)
        async with anyio.create_task_group() as group:
            group.start_soon(_close_when_gone, receive, answer)
            await reply.send_all(threads)
            group.cancel_scope.cancel()

    async def _read(self, http: HttpRequest) -> Request | Response:
        """Read the request; a response instead refuses it."""
        host = http.headers.get("host", "")
        if self._allowed_hosts is not None and _name_of(host) not in self._allowed_hosts:
            return Response.of(403, f"Host {host!r} is not served here".encode(), _TEXT)
        too_large = Response.of(
            413, f"Request body larger than {MAX_BODY_BYTES} bytes".encode(), _TEXT, connection="close"
        )
        if int(http.headers.get("content-length", 0)) > MAX_BODY_BYTES:  # the server has checked its form
            return too_large
        body = bytearray()
        async for chunk in http.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return too_large
        return Request(method=http.method, path=http.url.path, headers=dict(http.headers), body=bytes(body))


async def _close_when_gone(receive: Receive, response: Response) -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    finally:  # also when the server shuts down: the blocked reader must end
        response.body.close()


def _name_of(host: str) -> str:
    """Return a Host header's name: lower case, without port and without an address's brackets."""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return name.lower()
