"""The router: transports that try one backend after the other until the first byte of an answer.

What they do is decided in walk.py; here is only the doing. After the first byte nothing is asked again: the
caller has it already.
"""

from __future__ import annotations

import threading

import httpx2

from deepseek_apps.backends import Backend
from deepseek_apps.routing._leased_stream import AsyncLeasedStream, LeasedStream
from deepseek_apps.routing.budget import admit, admit_async
from deepseek_apps.routing.deadline import Interruption, deadline_of
from deepseek_apps.routing.faults import StreamPeek, body_fault, status_fault
from deepseek_apps.routing.requests import served_names
from deepseek_apps.routing.table import RouteTable
from deepseek_apps.routing.walk import Attempt, Errand, Place, Walk

__all__ = ["AsyncRouterTransport", "RouterTransport"]


class RouterTransport(httpx2.BaseTransport):
    """Sends each request to the backend that the policy chooses, and to the next if it fails.

    Args:
        table: Whom there is; its requests are addressed to the preferred one.
    """

    def __init__(self, table: RouteTable, inner: httpx2.BaseTransport | None = None) -> None:
        self._table = table
        self._inner = inner
        self._transports: dict[Place, httpx2.BaseTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request; the header x-deepseek-apps-route says who did, and after whom."""
        request.read()
        walk = Walk(self._table, request)
        while (step := walk.step()) is not None:
            if isinstance(step, Errand):
                self._run_errand(walk, step)
            elif (response := self._try(walk, step)) is not None:
                return response
        return walk.gave_up()

    def close(self) -> None:
        """Close the connections to all backends."""
        for transport in list(self._transports.values()):
            transport.close()

    def _transport(self, place: Place) -> httpx2.BaseTransport:
        with self._lock:
            if place not in self._transports:
                backend: Backend = self._table.targets[place[0]].replicas[place[1]]
                self._transports[place] = backend.transport(self._inner)
            return self._transports[place]

    def _run_errand(self, walk: Walk, errand: Errand) -> None:
        try:
            response = self._transport(errand.place).handle_request(errand.request)
            content = response.read()
            response.close()
            names = served_names(response.status_code, content)
        except httpx2.HTTPError:
            names = None
        except BaseException:
            walk.errand_dropped(errand)
            raise
        walk.errand_done(errand, names)

    def _try(self, walk: Walk, attempt: Attempt) -> httpx2.Response | None:
        response: httpx2.Response | None = None
        try:
            if len(self._table.targets) > 1:  # of a single one, whoever is above has taken care
                admit(walk.request, self._table.targets[attempt.place[0]])
            response = self._transport(attempt.place).handle_request(attempt.request)
            return self._examine(walk, attempt, response)
        except BaseException as error:  # noqa: BLE001  raised again unless another may help
            if response is not None:
                response.close()
            walk.broke(attempt, error)
            return None

    def _examine(self, walk: Walk, attempt: Attempt, response: httpx2.Response) -> httpx2.Response | None:
        """Return the response if it is the answer; else report what is wrong with it."""
        stream = response.stream
        assert isinstance(stream, httpx2.SyncByteStream)
        chunks, head = iter(stream), []
        fault = status_fault(response.status_code)
        with Interruption(deadline_of(walk.request), response) as interruption:
            if fault or reads_whole(walk, attempt, response):
                head = list(chunks)
                fault = fault or body_fault(decoded(response, head))
            elif peeks(walk, attempt, response):
                peek = StreamPeek()
                for chunk in chunks:
                    head.append(chunk)
                    if peek.feed(chunk) == "pass":
                        break
                else:
                    peek.end()
                fault = peek.fault
        interruption.check()
        if fault:
            response.close()
            walk.refused(attempt, fault, settled(response, head))
            return None
        walk.answered(attempt, response)
        return answer(response, LeasedStream(head, chunks, stream, attempt.lease))


class AsyncRouterTransport(httpx2.AsyncBaseTransport):
    """The asynchronous twin of RouterTransport; a cancelled task gives its place back at once.

    Args:
        table: Whom there is; its requests are addressed to the preferred one.
    """

    def __init__(self, table: RouteTable, inner: httpx2.AsyncBaseTransport | None = None) -> None:
        self._table = table
        self._inner = inner
        self._transports: dict[Place, httpx2.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request; the header x-deepseek-apps-route says who did, and after whom."""
        await request.aread()
        walk = Walk(self._table, request)
        while (step := walk.step()) is not None:
            if isinstance(step, Errand):
                await self._run_errand(walk, step)
            elif (response := await self._try(walk, step)) is not None:
                return response
        return walk.gave_up()

    async def aclose(self) -> None:
        """Close the connections to all backends."""
        for transport in list(self._transports.values()):
            await transport.aclose()

    def _transport(self, place: Place) -> httpx2.AsyncBaseTransport:
        if place not in self._transports:
            backend: Backend = self._table.targets[place[0]].replicas[place[1]]
            self._transports[place] = backend.async_transport(self._inner)
        return self._transports[place]

    async def _run_errand(self, walk: Walk, errand: Errand) -> None:
        try:
            response = await self._transport(errand.place).handle_async_request(errand.request)
            content = await response.aread()
            await response.aclose()
            names = served_names(response.status_code, content)
        except httpx2.HTTPError:
            names = None
        except BaseException:
            walk.errand_dropped(errand)
            raise
        walk.errand_done(errand, names)

    async def _try(self, walk: Walk, attempt: Attempt) -> httpx2.Response | None:
        response: httpx2.Response | None = None
        try:
            if len(self._table.targets) > 1:
                await admit_async(walk.request, self._table.targets[attempt.place[0]])
            response = await self._transport(attempt.place).handle_async_request(attempt.request)
            return await self._examine(walk, attempt, response)
        except BaseException as error:  # noqa: BLE001  raised again unless another may help
            if response is not None:
                await response.aclose()
            walk.broke(attempt, error)
            return None

    async def _examine(
        self, walk: Walk, attempt: Attempt, response: httpx2.Response
    ) -> httpx2.Response | None:
        """Return the response if it is the answer; else report what is wrong with it."""
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        chunks, head = aiter(stream), []
        fault = status_fault(response.status_code)
        if fault or reads_whole(walk, attempt, response):
            head = [chunk async for chunk in chunks]
            fault = fault or body_fault(decoded(response, head))
        elif peeks(walk, attempt, response):
            peek = StreamPeek()
            async for chunk in chunks:
                head.append(chunk)
                if peek.feed(chunk) == "pass":
                    break
            else:
                peek.end()
            fault = peek.fault
        if fault:
            await response.aclose()
            walk.refused(attempt, fault, settled(response, head))
            return None
        walk.answered(attempt, response)
        return answer(response, AsyncLeasedStream(head, chunks, stream, attempt.lease))


def answer(
    response: httpx2.Response, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream
) -> httpx2.Response:
    """Return the response with another body; a new one, since the old may have been read already."""
    return httpx2.Response(
        response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
    )


def reads_whole(walk: Walk, attempt: Attempt, response: httpx2.Response) -> bool:
    """Whether a reply has to be known to its end before it counts: another could still be asked."""
    whole = walk.facts.kind in {"chat", "fim"} and not walk.facts.stream
    return whole and not attempt.last and response.status_code == 200


def peeks(walk: Walk, attempt: Attempt, response: httpx2.Response) -> bool:
    """Whether a stream has to begin with an answer before it counts."""
    plain = "content-encoding" not in response.headers
    chat = walk.facts.kind in {"chat", "fim"} and walk.facts.stream
    return chat and plain and not attempt.last and response.status_code == 200


def decoded(response: httpx2.Response, chunks: list[bytes]) -> bytes:
    """Return a body without the encoding it was sent in."""
    raw = b"".join(chunks)
    return httpx2.Response(200, headers=response.headers, content=raw).content


def settled(response: httpx2.Response, chunks: list[bytes]) -> httpx2.Response:
    """Return a reply whose body has been read, to be given out later."""
    return httpx2.Response(
        response.status_code, headers=response.headers, stream=httpx2.ByteStream(b"".join(chunks))
    )
