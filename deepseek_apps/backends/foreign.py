"""Somebody else's HTTP client as a transport: for a proxy, a certificate authority or limits of your own.

Which addresses may be reached, and with which key, is decided before (guard.py); the client only connects.
Its own base URL, credentials and redirects are left out of it; its event hooks run.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from deepseek_apps.errors import SettingsError

__all__ = ["AsyncForeignTransport", "ForeignTransport", "foreign_async_transport", "foreign_transport"]


def foreign_transport(client: object) -> ForeignTransport:
    """Return a transport that connects through a client of httpx2 or of httpx.

    Raises:
        SettingsError: It is no such client.
    """
    return ForeignTransport(client, _library_of(client, "Client", "http_client"))


def foreign_async_transport(client: object) -> AsyncForeignTransport:
    """Return the asynchronous twin of `foreign_transport`."""
    return AsyncForeignTransport(client, _library_of(client, "AsyncClient", "async_http_client"))


def _library_of(client: object, kind: str, maker: str) -> Any:
    # Who has a client of httpx has imported it.
    for library in (httpx2, sys.modules.get("httpx")):
        if library is not None and isinstance(client, getattr(library, kind)):
            return library
    raise SettingsError(
        f"http_client is a {type(client).__name__}, not the {kind} of httpx2 or httpx",
        help_message=f"Leave it out, or pass one made by deepseek_apps.{maker}().",
    )


class ForeignTransport(httpx2.BaseTransport):
    """Connects through a client.

    Args:
        client: Stays open when this transport is closed: it is its maker's.
        library: The module it comes from, httpx2 or httpx.
    """

    def __init__(self, client: Any, library: Any) -> None:
        self._client = client
        self._library = library

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request as it stands."""
        request.read()
        with _mapped(self._library):
            response = self._client.send(
                _request(self._library, request), stream=True, auth=_no_auth, follow_redirects=False
            )
        return _response(response, _Stream(response, self._library))


class AsyncForeignTransport(httpx2.AsyncBaseTransport):
    """Connects through an asynchronous client; otherwise as ForeignTransport."""

    def __init__(self, client: Any, library: Any) -> None:
        self._client = client
        self._library = library

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request as it stands."""
        await request.aread()
        with _mapped(self._library):
            response = await self._client.send(
                _request(self._library, request), stream=True, auth=_no_auth, follow_redirects=False
            )
        return _response(response, _AsyncStream(response, self._library))


class _Stream(httpx2.SyncByteStream):
    def __init__(self, response: Any, library: Any) -> None:
        self._response = response
        self._library = library

    def __iter__(self) -> Iterator[bytes]:
        with _mapped(self._library):
            yield from self._response.iter_raw()

    def close(self) -> None:
        self._response.close()


class _AsyncStream(httpx2.AsyncByteStream):
    def __init__(self, response: Any, library: Any) -> None:
        self._response = response
        self._library = library

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _mapped(self._library):
            async for chunk in self._response.aiter_raw():
                yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


def _no_auth(request: Any) -> Any:
    """Return the request as it is: its credentials are the guard's."""
    return request


def _request(library: Any, request: httpx2.Request) -> Any:
    if library is httpx2:
        return request
    return library.Request(
        request.method,
        str(request.url),
        headers=request.headers.raw,
        content=request.content or None,
        extensions=dict(request.extensions),
    )


def _response(response: Any, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream) -> httpx2.Response:
    return httpx2.Response(
        response.status_code,
        headers=response.headers.raw,
        stream=stream,
        extensions=dict(response.extensions),
    )


@contextmanager
def _mapped(library: Any) -> Iterator[None]:
    """Turn the exceptions of another library into httpx2's of the same names."""
    try:
        yield
    except library.TransportError as error:
        if library is httpx2:
            raise
        raise getattr(httpx2, type(error).__name__, httpx2.TransportError)(str(error)) from error
