"""ChatDeepSeek's calls: send, and turn failures into errors; sync, async, whole and streamed.

The SDK's clients carry the request (retries, time-outs, connections), and its models are bypassed: what they
cost per streamed token is more than all the rest, and they would drop reasoning.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import openai
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from openai import AsyncStream, Stream
from openai._base_client import make_request_options

from deepseek_apps.chat.attempt import Attempt
from deepseek_apps.chat.replies import Reply, read_reply, result_of
from deepseek_apps.chat.request import ChatCall
from deepseek_apps.errors import BackendError
from deepseek_apps.langchain_errors import chat_error

if TYPE_CHECKING:
    from deepseek_apps.chat_model import ChatDeepSeek
    from deepseek_apps.client import AsyncDeepSeek, DeepSeek

__all__ = ["agenerate", "astream", "generate", "stream"]

CHAT_PATH = "/chat/completions"


def generate(model: ChatDeepSeek, call: ChatCall) -> ChatResult:
    """Ask, and once more if a call that was asked for in words was not made.

    Raises:
        BackendError: The request failed; see langchain_errors.py.
        OutputError: The tool was not called.
    """
    reply = _send(model, call)
    if reply.misses_call(call):
        call = reply.second_call(call)
        reply = replace(_send(model, call), missed=reply)
    return result_of(model, call, reply)


async def agenerate(model: ChatDeepSeek, call: ChatCall) -> ChatResult:
    """Ask asynchronously; as `generate`."""
    reply = await _asend(model, call)
    if reply.misses_call(call):
        call = reply.second_call(call)
        reply = replace(await _asend(model, call), missed=reply)
    return result_of(model, call, reply)


def stream(model: ChatDeepSeek, call: ChatCall) -> Iterator[ChatGenerationChunk]:
    """Ask, and give the answer as it comes; a second attempt follows the first in the same stream.

    Raises:
        BackendError: The request failed, or the stream broke off.
        OutputError: The tool was not called.
    """
    with _as_chat_errors():
        attempt = Attempt(model, call)
        yield from _one_stream(model, attempt)
        if attempt.missed():
            attempt = attempt.again()
            yield from _one_stream(model, attempt)
        attempt.check()


async def astream(model: ChatDeepSeek, call: ChatCall) -> AsyncGenerator[ChatGenerationChunk]:
    """Ask asynchronously, and give the answer as it comes; as `stream`."""
    with _as_chat_errors():
        attempt = Attempt(model, call)
        # Closed by name: left to the collector, a stream that nobody reads on would stay open for a while.
        async with aclosing(_one_astream(model, attempt)) as chunks:
            async for chunk in chunks:
                yield chunk
        if attempt.missed():
            attempt = attempt.again()
            async with aclosing(_one_astream(model, attempt)) as chunks:
                async for chunk in chunks:
                    yield chunk
        attempt.check()


def _send(model: ChatDeepSeek, call: ChatCall) -> Reply:
    client = model.root_client
    with _as_chat_errors():
        response = client.post(
            CHAT_PATH, body=_named(client, call), options=_options(call), cast_to=httpx2.Response
        )
        return read_reply(call, response)


async def _asend(model: ChatDeepSeek, call: ChatCall) -> Reply:
    client = model.root_async_client
    with _as_chat_errors():
        response = await client.post(
            CHAT_PATH, body=await _anamed(client, call), options=_options(call), cast_to=httpx2.Response
        )
        return read_reply(call, response)


def _one_stream(model: ChatDeepSeek, attempt: Attempt) -> Iterator[ChatGenerationChunk]:
    client, call = model.root_client, attempt.call
    with client.post(
        CHAT_PATH,
        body=_named(client, call),
        options=_options(call),
        cast_to=object,
        stream=True,
        stream_cls=Stream[object],
    ) as events:
        attempt.start(events.response.headers)
        for event in events:
            yield from attempt.read(event)
    yield from attempt.finish()


async def _one_astream(model: ChatDeepSeek, attempt: Attempt) -> AsyncGenerator[ChatGenerationChunk]:
    client, call = model.root_async_client, attempt.call
    async with await client.post(
        CHAT_PATH,
        body=await _anamed(client, call),
        options=_options(call),
        cast_to=object,
        stream=True,
        stream_cls=AsyncStream[object],
    ) as events:
        attempt.start(events.response.headers)
        async for event in events:
            for chunk in attempt.read(event):
                yield chunk
    for chunk in attempt.finish():
        yield chunk


def _named(client: DeepSeek, call: ChatCall) -> dict[str, Any]:
    """Return the body with a model's name; a server may have to be asked for it."""
    return call.body if call.body.get("model") else {**call.body, "model": client.default_model}


async def _anamed(client: AsyncDeepSeek, call: ChatCall) -> dict[str, Any]:
    return call.body if call.body.get("model") else {**call.body, "model": await client.resolve_model()}


def _options(call: ChatCall) -> Any:
    given = call.options
    return make_request_options(
        extra_headers=given.headers or None,
        extra_query=given.query or None,
        **({} if given.timeout is None else {"timeout": given.timeout}),
    )


@contextmanager
def _as_chat_errors() -> Iterator[None]:
    try:
        yield
    except (openai.OpenAIError, httpx2.HTTPError, BackendError) as error:
        raised = chat_error(error)
        if raised is error:
            raise
        raise raised from error
