"""The outermost transports: each call's usage is read as it passes, priced, and written to the ledger.

Bytes of a stream pass at once and unchanged. A whole answer is read before it is handed on, so that its
headers can say what it cost. What a call may cost is checked before it is made; see budget.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import httpx2

from deepseek_apps.backends.target import Target
from deepseek_apps.cost import Cost
from deepseek_apps.errors import BackendError, DeepSeekAppsError
from deepseek_apps.routing._call import COST_HEADER, Call, MeterOptions
from deepseek_apps.routing._ledger_writer import shared_writer
from deepseek_apps.routing._metered_streams import AsyncMeteredStream, MeteredStream, in_thread, outcome_of
from deepseek_apps.routing._usage_reader import BodyReader
from deepseek_apps.routing.budget import CALL_EXTENSION, admit, admit_async

__all__ = ["AsyncMeteredTransport", "MeteredTransport", "metered", "metered_async"]

ROUTES = ("/completions", "/responses", "/messages")


def metered(
    transport: httpx2.BaseTransport, targets: Sequence[Target], options: MeterOptions | None = None
) -> httpx2.BaseTransport:
    """Return a transport that does what the given one does, and keeps account of it.

    Args:
        transport: What reaches the targets.
        targets: What may answer, preferred first. If there are several, the transport has to call
            `budget.admit` before it asks one.
        options: What is kept and bounded; None reads the settings when the first call is made.
    """
    return MeteredTransport(transport, targets, options)


def metered_async(
    transport: httpx2.AsyncBaseTransport, targets: Sequence[Target], options: MeterOptions | None = None
) -> httpx2.AsyncBaseTransport:
    """Return the asynchronous twin of `metered`."""
    return AsyncMeteredTransport(transport, targets, options)


class _Meter:
    """What both transports share: which requests are calls, and what is kept of them."""

    def __init__(self, targets: Sequence[Target], options: MeterOptions | None) -> None:
        self._targets = tuple(targets)
        self._options = options

    def begin(self, request: httpx2.Request) -> Call | None:
        """Return the call that a request is; None for one that no model answers."""
        if request.method != "POST" or not request.url.path.endswith(ROUTES):
            return None
        if self._options is None:
            self._options = MeterOptions.from_settings()
        call = Call(request, self._targets, self._options, shared_writer())
        request.extensions[CALL_EXTENSION] = call
        return call

    @property
    def only_target(self) -> Target | None:
        """The one target, where there is no choice."""
        return self._targets[0] if len(self._targets) == 1 else None


class MeteredTransport(httpx2.BaseTransport):
    """See `metered`."""

    def __init__(
        self, inner: httpx2.BaseTransport, targets: Sequence[Target], options: MeterOptions | None
    ) -> None:
        self._inner = inner
        self._meter = _Meter(targets, options)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request.

        Raises:
            BudgetExceededError: It could cost more than a budget leaves; it was not sent.
        """
        call = self._meter.begin(request)
        if call is None:
            return self._inner.handle_request(request)
        try:
            if target := self._meter.only_target:
                admit(request, target)
            response = self._inner.handle_request(request)
        except BaseException as error:
            _fail(call, error)
            raise
        if _is_stream(response):
            call.begin_answer(response, streamed=True)
            response.stream = MeteredStream(_sync(response.stream), call)
            return response
        return self._whole(response, call)

    def _whole(self, response: httpx2.Response, call: Call) -> httpx2.Response:
        call.begin_answer(response, streamed=False)
        stream = _sync(response.stream)
        try:
            data = b"".join(stream)
        except BaseException as error:
            stream.close()
            call.end(outcome_of(error))
            raise
        stream.close()
        _finish_whole(response, call, data)
        return response

    def close(self) -> None:
        """Close the transport inside."""
        self._inner.close()


class AsyncMeteredTransport(httpx2.AsyncBaseTransport):
    """See `metered_async`."""

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, targets: Sequence[Target], options: MeterOptions | None
    ) -> None:
        self._inner = inner
        self._meter = _Meter(targets, options)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request.

        Raises:
            BudgetExceededError: It could cost more than a budget leaves; it was not sent.
        """
        call = self._meter.begin(request)
        if call is None:
            return await self._inner.handle_async_request(request)
        try:
            if target := self._meter.only_target:
                await admit_async(request, target)
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            await in_thread(partial(_fail, call, error))
            raise
        if _is_stream(response):
            call.begin_answer(response, streamed=True)
            response.stream = AsyncMeteredStream(_async(response.stream), call)
            return response
        return await self._whole(response, call)

    async def _whole(self, response: httpx2.Response, call: Call) -> httpx2.Response:
        call.begin_answer(response, streamed=False)
        stream = _async(response.stream)
        try:
            data = b"".join([chunk async for chunk in stream])
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            await in_thread(partial(call.end, outcome_of(error)))
            raise
        await stream.aclose()
        await in_thread(partial(_finish_whole, response, call, data))
        return response

    async def aclose(self) -> None:
        """Close the transport inside."""
        await self._inner.aclose()


def _finish_whole(response: httpx2.Response, call: Call, data: bytes) -> None:
    """Account for a whole answer and hand its bytes on."""
    call.note_first()
    reader = BodyReader()
    reader.feed(_decoded(response, data))
    reader.finish()
    failed = response.is_error or reader.failed
    cost = call.end("failed" if failed else "ok", reader)
    response.stream = httpx2.ByteStream(data)
    if cost is not None and reader.usage:
        response.headers[COST_HEADER] = _amount(cost)


def _decoded(response: httpx2.Response, data: bytes) -> bytes:
    if "content-encoding" not in response.headers:
        return data
    encoding = {"content-encoding": response.headers["content-encoding"]}
    try:
        return httpx2.Response(response.status_code, headers=encoding, content=data).content
    except httpx2.DecodingError:
        return b""


def _amount(cost: Cost) -> str:
    return f"{cost.total.normalize():f} {cost.currency}"


def _fail(call: Call, error: BaseException) -> None:
    """Write down a call without an answer; one that we refused ourselves was never made."""
    if isinstance(error, DeepSeekAppsError) and not isinstance(error, BackendError):
        call.cancel()
    else:
        call.end("failed" if isinstance(error, Exception) else "abandoned")


def _is_stream(response: httpx2.Response) -> bool:
    plain = "content-encoding" not in response.headers
    return plain and response.headers.get("content-type", "").startswith("text/event-stream")


def _sync(stream: object) -> httpx2.SyncByteStream:
    assert isinstance(stream, httpx2.SyncByteStream)
    return stream


def _async(stream: object) -> httpx2.AsyncByteStream:
    assert isinstance(stream, httpx2.AsyncByteStream)
    return stream
