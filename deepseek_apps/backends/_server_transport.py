"""Transports that translate between the hosted dialect and a server's, and find out once what the server is.

The words are in _to_server.py and _from_server.py; here is only when they are used. A request that says the
same to every server, and an answer that needs nothing, pass unparsed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import httpx2

from deepseek_apps.backends._from_server import EventTranslator
from deepseek_apps.backends._server_exchange import (
    ServerExchange,
    ServerKnowledge,
    replaced,
)
from deepseek_apps.backends.base import watched

__all__ = ["AsyncServerTransport", "ServerTransport"]

# A server that is there and does not answer the question what it is; one that is not there fails the request.
UNANSWERED = (httpx2.ReadTimeout, httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)


class ServerTransport(httpx2.BaseTransport):
    """Speaks the hosted dialect above and a server's below.

    Args:
        inner: Reaches the server.
        base_url: The server's address, to which its routes are joined.
        flavor: The server's software; None recognises it.
    """

    def __init__(self, inner: httpx2.BaseTransport, base_url: str, flavor: str | None) -> None:
        self._inner = inner
        self._knowledge = ServerKnowledge(base_url, flavor)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request, translated where it must be, and return the answer in the hosted dialect."""
        if self._knowledge.must_ask(request):
            self._recognise()
        exchange = ServerExchange.of(request, self._knowledge.flavor)
        if exchange.refused is not None:
            return exchange.refused
        response = self._inner.handle_request(exchange.request)
        if exchange.streams(response) and isinstance(response.stream, httpx2.SyncByteStream):
            return exchange.marked(replaced(response, stream=_Stream(response.stream)))
        if not exchange.translates(response):
            return exchange.marked(response)
        with watched(request, response):
            response.read()
        return self._knowledge.learn(exchange, exchange.translated(response))

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _recognise(self) -> None:
        for question in self._knowledge.questions():
            response = None
            with suppress(*UNANSWERED):
                reply = self._inner.handle_request(question)
                reply.read()
                response = reply
            self._knowledge.note(question, response)


class AsyncServerTransport(httpx2.AsyncBaseTransport):
    """The asynchronous twin of ServerTransport."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, base_url: str, flavor: str | None) -> None:
        self._inner = inner
        self._knowledge = ServerKnowledge(base_url, flavor)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request, translated where it must be, and return the answer in the hosted dialect."""
        if self._knowledge.must_ask(request):
            await self._recognise()
        exchange = ServerExchange.of(request, self._knowledge.flavor)
        if exchange.refused is not None:
            return exchange.refused
        response = await self._inner.handle_async_request(exchange.request)
        if exchange.streams(response) and isinstance(response.stream, httpx2.AsyncByteStream):
            return exchange.marked(replaced(response, stream=_AsyncStream(response.stream)))
        if not exchange.translates(response):
            return exchange.marked(response)
        await response.aread()
        return self._knowledge.learn(exchange, exchange.translated(response))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _recognise(self) -> None:
        for question in self._knowledge.questions():
            response = None
            with suppress(*UNANSWERED):
                reply = await self._inner.handle_async_request(question)
                await reply.aread()
                response = reply
            self._knowledge.note(question, response)


class _Stream(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        translator = EventTranslator()
        for chunk in self._stream:
            if translated := translator.feed(chunk):
                yield translated
        yield _end(translator)

    def close(self) -> None:
        self._stream.close()


class _AsyncStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        translator = EventTranslator()
        async for chunk in self._stream:
            if translated := translator.feed(chunk):
                yield translated
        yield _end(translator)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _end(translator: EventTranslator) -> bytes:
    try:
        return translator.finish()
    except ValueError as error:
        raise httpx2.RemoteProtocolError(str(error)) from None
