"""HTTP transports that serve one origin only, add that origin's key, and notice answers that break off.

One place decides where a key may go: a request to any other scheme, host or port is refused before a socket
is opened, and what the SDK or its environment put into the credentials headers is thrown away.
"""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import httpx2
from pydantic import SecretStr

from deepseek_apps.backends.base import BACKEND_HEADER, BackendName
from deepseek_apps.errors import SettingsError

__all__ = [
    "AMBIENT_HEADERS",
    "AsyncGuardedTransport",
    "Guard",
    "GuardedTransport",
    "is_loopback",
    "origin_of",
    "with_body",
]

Origin: TypeAlias = tuple[str, str, int | None]
# Filled by the openai SDK from OPENAI_API_KEY, OPENAI_ORG_ID and OPENAI_PROJECT_ID where it finds them.
AMBIENT_HEADERS = ("authorization", "openai-organization", "openai-project")
DONE = b"data: [DONE]"
# Routes whose streams end with DONE; the Responses and Messages dialects end otherwise.
DONE_ROUTES = ("/chat/completions", "/completions")
DEFAULT_PORTS = {"http": 80, "https": 443}
# The library's hundred would hold back requests that the account may have at once; who asks decides how many.
CONNECTIONS = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}


def origin_of(url: str | httpx2.URL) -> Origin:
    """Return scheme, host and port, with the scheme's default port filled in."""
    parsed = httpx2.URL(url)
    return parsed.scheme, parsed.host.lower(), parsed.port or DEFAULT_PORTS.get(parsed.scheme)


def is_loopback(url: str | httpx2.URL) -> bool:
    """Whether the address is this machine."""
    return origin_of(url)[1] in LOOPBACK_HOSTS


def with_body(request: httpx2.Request, content: bytes) -> httpx2.Request:
    """Return a request like another, with another body."""
    headers = [
        (name, value)
        for name, value in request.headers.multi_items()
        if name not in {"content-length", "transfer-encoding"}
    ]
    return httpx2.Request(
        request.method, request.url, headers=headers, content=content, extensions=request.extensions
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What is checked and changed in each request, shared by both transports.

    Attributes:
        name: Backend to report in the response header.
        base_url: The one origin that may be reached.
        api_key: Sent as a bearer token to that origin; None sends no credentials.
        rewrite: Further changes by the backend, made last.
        checks_done: Whether a stream without [DONE] is an error here; a backend may know better.
    """

    name: BackendName
    base_url: str
    api_key: SecretStr | None = field(default=None, repr=False)
    rewrite: Callable[[httpx2.Request], httpx2.Request] | None = None
    checks_done: bool = True

    def prepare(self, request: httpx2.Request) -> httpx2.Request:
        """Check the address and set the credentials of a request; return what is to leave.

        Raises:
            SettingsError: It is addressed to another origin.
        """
        if origin_of(request.url) != origin_of(self.base_url):
            raise SettingsError(
                f"refused to send a request for {self.base_url} to {request.url.scheme}://{request.url.netloc.decode()}",
                help_message="Create a client for that address: backend='server', base_url='…'.",
            )
        for header in AMBIENT_HEADERS:
            request.headers.pop(header, None)
        if self.api_key is not None:
            request.headers["authorization"] = f"Bearer {self.api_key.get_secret_value()}"
        return request if self.rewrite is None else self.rewrite(request)

    def proxy(self) -> str | None:
        """Return the environment's proxy for the origin; none for this machine."""
        scheme, host, _ = origin_of(self.base_url)
        if is_loopback(self.base_url) or urllib.request.proxy_bypass(host):
            return None
        proxies = urllib.request.getproxies()
        return proxies.get(scheme) or proxies.get("all")

    def needs_done(self, request: httpx2.Request, response: httpx2.Response) -> bool:
        """Whether the response is a stream that must end with [DONE]."""
        return (
            self.checks_done
            and response.status_code == 200
            and response.headers.get("content-type", "").startswith("text/event-stream")
            and "content-encoding" not in response.headers
            and request.url.path.endswith(DONE_ROUTES)
        )


class _DoneCheck:
    """Remembers whether [DONE] has passed; a stream that ends without it was cut, not finished."""

    def __init__(self) -> None:
        self._tail = b""
        self._seen = False

    def feed(self, chunk: bytes) -> None:
        window = self._tail + chunk
        self._seen = self._seen or DONE in window
        self._tail = window[-len(DONE) :]

    def finish(self) -> None:
        if not self._seen:
            raise httpx2.RemoteProtocolError("the stream ended without [DONE]")


class _CheckedStream(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        check = _DoneCheck()
        for chunk in self._stream:
            check.feed(chunk)
            yield chunk
        check.finish()

    def close(self) -> None:
        self._stream.close()


class _AsyncCheckedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        check = _DoneCheck()
        async for chunk in self._stream:
            check.feed(chunk)
            yield chunk
        check.finish()

    async def aclose(self) -> None:
        await self._stream.aclose()


class GuardedTransport(httpx2.BaseTransport):
    """Real HTTP to one origin.

    Args:
        guard: Says what may leave.
        inner: Makes the connections; None is a pool of its own, through the environment's proxy.
    """

    def __init__(self, guard: Guard, inner: httpx2.BaseTransport | None = None) -> None:
        self._guard = guard
        self._inner = inner
        self._making = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; see `Guard.prepare` for what is refused."""
        request = self._guard.prepare(request)
        with self._making:  # late: certificates take 25 ms to load, and many clients never ask
            if self._inner is None:
                self._inner = httpx2.HTTPTransport(proxy=self._guard.proxy(), limits=CONNECTIONS)
        response = self._inner.handle_request(request)
        response.headers[BACKEND_HEADER] = self._guard.name
        if self._guard.needs_done(request, response) and isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _CheckedStream(response.stream)
        return response

    def close(self) -> None:
        """Close the connections."""
        if self._inner is not None:
            self._inner.close()


class AsyncGuardedTransport(httpx2.AsyncBaseTransport):
    """Real HTTP to one origin, asynchronously; as GuardedTransport."""

    def __init__(self, guard: Guard, inner: httpx2.AsyncBaseTransport | None = None) -> None:
        self._guard = guard
        self._inner = inner
        self._given = inner is not None
        self._loop: object = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; see `Guard.prepare` for what is refused."""
        request = self._guard.prepare(request)
        response = await self._pool().handle_async_request(request)
        response.headers[BACKEND_HEADER] = self._guard.name
        if self._guard.needs_done(request, response) and isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _AsyncCheckedStream(response.stream)
        return response

    def _pool(self) -> httpx2.AsyncBaseTransport:
        """Return the running loop's connections; those of a loop that has ended are dead."""
        try:
            loop: object = asyncio.get_running_loop()
        except RuntimeError:  # another library's loop
            loop = None
        if self._inner is None or (loop is not self._loop and not self._given):
            self._inner = httpx2.AsyncHTTPTransport(proxy=self._guard.proxy(), limits=CONNECTIONS)
        self._loop = loop
        return self._inner

    async def aclose(self) -> None:
        """Close the connections."""
        if self._inner is not None:
            await self._inner.aclose()
