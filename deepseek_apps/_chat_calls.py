"""ChatDeepSeek's calls: send, read, and turn failures into errors; sync, async, whole and streamed.

The SDK's clients carry the request (retries, time-outs, connections), and its models are bypassed: what they
cost per streamed token is more than all the rest, and they would drop reasoning.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import openai
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from openai import AsyncStream, Stream
from openai._base_client import make_request_options

from deepseek_apps._chat_request import ChatCall
from deepseek_apps.backends import BACKEND_HEADER
from deepseek_apps.backends.replies import read_json
from deepseek_apps.errors import BackendError, OutputError
from deepseek_apps.langchain_errors import chat_error, chat_overloaded
from deepseek_apps.wire import ChunkReader, message_of

if TYPE_CHECKING:
    from deepseek_apps.chat_model import ChatDeepSeek

__all__ = ["agenerate", "astream", "generate", "logprobs_of", "stream"]

CHAT_PATH = "/chat/completions"
GIVEN_UP = "insufficient_system_resource"
# What our transports say about a reply, and under which name response_metadata has it.
NOTED_HEADERS = {
    BACKEND_HEADER: "backend",
    "x-deepseek-apps-route": "route",
    "x-deepseek-apps-cost": "cost",
    "x-ds-trace-id": "trace_id",
}


@dataclass(frozen=True, slots=True)
class _Reply:
    """A whole answer."""

    message: AIMessage
    body: Mapping[str, Any]
    headers: Mapping[str, str]


def generate(model: ChatDeepSeek, call: ChatCall) -> ChatResult:
    """Ask, and once more if a call that was asked for in words was not made.

    Raises:
        BackendError: The request failed; see langchain_errors.py.
        OutputError: The tool was not called.
    """
    reply = _send(model, call)
    if call.misses(_called(reply.message)):
        call = call.again(_as_answer(reply.message))
        reply = _send(model, call)
    return _result(model, call, reply)


async def agenerate(model: ChatDeepSeek, call: ChatCall) -> ChatResult:
    """Ask asynchronously; as `generate`."""
    reply = await _asend(model, call)
    if call.misses(_called(reply.message)):
        call = call.again(_as_answer(reply.message))
        reply = await _asend(model, call)
    return _result(model, call, reply)


def stream(model: ChatDeepSeek, call: ChatCall) -> Iterator[ChatGenerationChunk]:
    """Ask, and give the answer as it comes; a second attempt follows the first in the same stream.

    Raises:
        BackendError: The request failed, or the stream broke off.
        OutputError: The tool was not called.
    """
    with _as_chat_errors():
        attempt = _Attempt(model, call)
        yield from _one_stream(model, attempt)
        if attempt.missed():
            attempt = attempt.again()
            yield from _one_stream(model, attempt)
        attempt.check()


async def astream(model: ChatDeepSeek, call: ChatCall) -> AsyncIterator[ChatGenerationChunk]:
    """Ask asynchronously, and give the answer as it comes; as `stream`."""
    with _as_chat_errors():
        attempt = _Attempt(model, call)
        async for chunk in _one_astream(model, attempt):
            yield chunk
        if attempt.missed():
            attempt = attempt.again()
            async for chunk in _one_astream(model, attempt):
                yield chunk
        attempt.check()


def logprobs_of(chunk: ChatGenerationChunk) -> Any:
    """Return the log probabilities of a chunk, if it has any."""
    return chunk.message.response_metadata.get("logprobs")


def _send(model: ChatDeepSeek, call: ChatCall) -> _Reply:
    client = model.root_client
    with _as_chat_errors():
        body = _named(call.body, client.default_model if not call.body.get("model") else "")
        response = client.post(CHAT_PATH, body=body, options=_options(call), cast_to=httpx2.Response)
        return _read(call, response)


async def _asend(model: ChatDeepSeek, call: ChatCall) -> _Reply:
    client = model.root_async_client
    with _as_chat_errors():
        body = _named(call.body, await client.resolve_model() if not call.body.get("model") else "")
        response = await client.post(CHAT_PATH, body=body, options=_options(call), cast_to=httpx2.Response)
        return _read(call, response)


def _one_stream(model: ChatDeepSeek, attempt: _Attempt) -> Iterator[ChatGenerationChunk]:
    client, call = model.root_client, attempt.call
    body = _named(call.body, client.default_model if not call.body.get("model") else "")
    with client.post(
        CHAT_PATH, body=body, options=_options(call), cast_to=object, stream=True, stream_cls=Stream[object]
    ) as events:
        attempt.start(events.response.headers)
        for event in events:
            yield from attempt.read(event)
    yield from attempt.finish()


async def _one_astream(model: ChatDeepSeek, attempt: _Attempt) -> AsyncIterator[ChatGenerationChunk]:
    client, call = model.root_async_client, attempt.call
    body = _named(call.body, await client.resolve_model() if not call.body.get("model") else "")
    async with await client.post(
        CHAT_PATH,
        body=body,
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


class _Attempt:
    """One streamed answer: reads events, remembers what was called."""

    def __init__(self, model: ChatDeepSeek, call: ChatCall) -> None:
        self.call = call
        self._model = model
        self._reader = ChunkReader(tools_declared=call.has_tools)
        self._metadata: dict[str, Any] = {}
        self._finish_reason: object = None
        self._kept: list[AIMessageChunk] = []

    def start(self, headers: Mapping[str, str]) -> None:
        self._metadata = _metadata(self._model, self.call, headers)

    def read(self, event: Mapping[str, Any]) -> Iterator[ChatGenerationChunk]:
        yield from map(self._generation, self._reader.read(event))

    def finish(self) -> Iterator[ChatGenerationChunk]:
        yield from map(self._generation, self._reader.finish())
        _check_finish(self._finish_reason)

    def missed(self) -> bool:
        return self.call.must_call is not None and self.call.misses(_called(self._message()))

    def again(self) -> _Attempt:
        return _Attempt(self._model, self.call.again(_as_answer(self._message())))

    def check(self) -> None:
        if self.call.must_call is not None:
            _check_called(self.call, self._message())

    def _message(self) -> AIMessageChunk:
        return add_ai_message_chunks(AIMessageChunk(content=""), *self._kept)

    def _generation(self, message: AIMessageChunk) -> ChatGenerationChunk:
        if self.call.must_call is not None:  # only then does anybody look back
            self._kept.append(message)
        self._finish_reason = message.response_metadata.get("finish_reason", self._finish_reason)
        if self._metadata:  # on the first chunk alone, because merged chunks join equal texts
            message.response_metadata.update(self._metadata)
            self._metadata = {}
        return ChatGenerationChunk(message=message)


def _read(call: ChatCall, response: httpx2.Response) -> _Reply:
    body = read_json(response)
    message = message_of(body, tools_declared=call.has_tools)
    _check_finish(message.response_metadata.get("finish_reason"))
    return _Reply(message, body, response.headers)


def _result(model: ChatDeepSeek, call: ChatCall, reply: _Reply) -> ChatResult:
    _check_called(call, reply.message)
    reply.message.response_metadata.update(_metadata(model, call, reply.headers))
    finish_reason = reply.message.response_metadata.get("finish_reason")
    generation = ChatGeneration(message=reply.message, generation_info={"finish_reason": finish_reason})
    output = {"token_usage": reply.body.get("usage"), "model_name": reply.body.get("model")}
    return ChatResult(generations=[generation], llm_output=output)


def _metadata(model: ChatDeepSeek, call: ChatCall, headers: Mapping[str, str]) -> dict[str, Any]:
    noted: dict[str, Any] = {
        name: headers[header] for header, name in NOTED_HEADERS.items() if header in headers
    }
    if model.include_response_headers:
        noted["headers"] = dict(headers)
    if model.output_version == "v1":
        noted["output_version"] = "v1"
    return {**noted, **call.notes}


def _named(body: dict[str, Any], default: str) -> dict[str, Any]:
    return {**body, "model": default} if default else body


def _options(call: ChatCall) -> Any:
    given = call.options
    return make_request_options(
        extra_headers=given.headers or None,
        extra_query=given.query or None,
        **({} if given.timeout is None else {"timeout": given.timeout}),
    )


def _called(message: AIMessage) -> list[str]:
    return [call["name"] for call in message.tool_calls]


def _as_answer(message: AIMessage) -> dict[str, Any]:
    reasoning = message.additional_kwargs.get("reasoning_content", "")
    return {"role": "assistant", "content": message.text, "reasoning_content": reasoning}


def _check_called(call: ChatCall, message: AIMessage) -> None:
    if call.misses(_called(message)):
        wanted = f"the tool {call.must_call!r}" if call.must_call else "a tool"
        raise OutputError(
            f"the model did not call {wanted}, though it was told to twice",
            output=message.text,
            help_message="Use forced_tool_choice='disable_thinking', with which the API enforces the call.",
        )


def _check_finish(reason: object) -> None:
    if reason == GIVEN_UP:
        raise chat_overloaded("the backend gave the answer up half-way: insufficient_system_resource")


@contextmanager
def _as_chat_errors() -> Iterator[None]:
    try:
        yield
    except (openai.OpenAIError, httpx2.HTTPError, BackendError) as error:
        raised = chat_error(error)
        if raised is error:
            raise
        raise raised from error
