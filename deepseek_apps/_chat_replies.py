"""What ChatDeepSeek makes of replies, whole and streamed: messages, metadata, and what is wrong with them.

No I/O: `_chat_calls.py` gets the replies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from deepseek_apps._chat_request import ChatCall
from deepseek_apps.backends import BACKEND_HEADER
from deepseek_apps.backends.replies import read_json
from deepseek_apps.errors import OutputError
from deepseek_apps.langchain_errors import chat_overloaded
from deepseek_apps.wire import ChunkReader, message_of

if TYPE_CHECKING:
    from deepseek_apps.chat_model import ChatDeepSeek

__all__ = ["Attempt", "Reply", "logprobs_of", "read_reply", "result_of"]

GIVEN_UP = "insufficient_system_resource"
# What our transports say about a reply, and under which name response_metadata has it.
NOTED_HEADERS = {
    BACKEND_HEADER: "backend",
    "x-deepseek-apps-route": "route",
    "x-deepseek-apps-cost": "cost",
    "x-ds-trace-id": "trace_id",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    message: AIMessage
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    def misses_call(self, call: ChatCall) -> bool:
        """Whether it lacks the call that it was told to make."""
        return call.misses(_called(self.message))

    def second_call(self, call: ChatCall) -> ChatCall:
        """Return the second attempt."""
        return call.again(_as_answer(self.message))


class Attempt:
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

    def again(self) -> Attempt:
        return Attempt(self._model, self.call.again(_as_answer(self._message())))

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


def read_reply(call: ChatCall, response: httpx2.Response) -> Reply:
    body = read_json(response)
    message = message_of(body, tools_declared=call.has_tools)
    _check_finish(message.response_metadata.get("finish_reason"))
    return Reply(message, body, response.headers)


def result_of(model: ChatDeepSeek, call: ChatCall, reply: Reply) -> ChatResult:
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


def logprobs_of(chunk: ChatGenerationChunk) -> Any:
    """Return the log probabilities of a chunk, if it has any."""
    return chunk.message.response_metadata.get("logprobs")


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
