"""What ChatDeepSeek makes of whole replies: messages, metadata, and what is wrong with them.

No I/O: `chat/calls.py` gets the replies. Streamed ones are `chat/attempt.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx2
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from deepseek_apps.backends import BACKEND_HEADER
from deepseek_apps.backends.replies import read_json
from deepseek_apps.chat.request import ChatCall
from deepseek_apps.errors import OutputError
from deepseek_apps.langchain_errors import chat_overloaded
from deepseek_apps.wire import message_of

if TYPE_CHECKING:
    from deepseek_apps.chat_model import ChatDeepSeek

__all__ = [
    "Reply",
    "as_answer",
    "check_called",
    "check_finish",
    "logprobs_of",
    "read_reply",
    "reply_metadata",
    "result_of",
]

GIVEN_UP = "insufficient_system_resource"
COST_HEADER = "x-deepseek-apps-cost"
# What our transports say about a reply, and under which name response_metadata has it.
NOTED_HEADERS = {
    BACKEND_HEADER: "backend",
    "x-deepseek-apps-route": "route",
    COST_HEADER: "cost",
    "x-ds-trace-id": "trace_id",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer.

    Attributes:
        message: What it says.
        body: Its JSON.
        headers: Its headers.
        missed: An earlier attempt that did not make the call it was told to make.
    """

    message: AIMessage
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    missed: Reply | None = None

    def misses_call(self, call: ChatCall) -> bool:
        """Whether it lacks the call that it was told to make."""
        return call.misses(_called(self.message))

    def second_call(self, call: ChatCall) -> ChatCall:
        """Return the second attempt."""
        return call.again(as_answer(self.message))


def read_reply(call: ChatCall, response: httpx2.Response) -> Reply:
    """Read a reply.

    Raises:
        BackendError: It is no answer, or one that the backend gave up half-way.
    """
    body = read_json(response)
    message = message_of(body, tools_declared=call.has_tools)
    check_finish(message)
    return Reply(message, body, response.headers)


def result_of(model: ChatDeepSeek, call: ChatCall, reply: Reply) -> ChatResult:
    """Return the reply as LangChain's result; of two attempts it has the tokens and the reasoning of both.

    Raises:
        OutputError: The call that was asked for in words was not made.
    """
    message, usage = reply.message, reply.body.get("usage")
    check_called(call, message)
    message.response_metadata.update(reply_metadata(model, call, reply.headers))
    if reply.missed is not None:
        _add_attempt(message, reply.missed)
        outputs: list[dict[Any, Any] | None] = [
            {"token_usage": each.body.get("usage")} for each in (reply.missed, reply)
        ]
        usage = model._combine_llm_outputs(outputs)["token_usage"]
    finish_reason = message.response_metadata.get("finish_reason")
    generation = ChatGeneration(message=message, generation_info={"finish_reason": finish_reason})
    output = {"token_usage": usage, "model_name": reply.body.get("model")}
    return ChatResult(generations=[generation], llm_output=output)


def _add_attempt(message: AIMessage, missed: Reply) -> None:
    """Add to a message what an attempt before it thought and cost."""
    earlier = missed.message
    if reasoning := earlier.additional_kwargs.get("reasoning_content"):
        later = message.additional_kwargs.get("reasoning_content", "")
        message.additional_kwargs["reasoning_content"] = reasoning + later
    message.usage_metadata = add_usage(earlier.usage_metadata, message.usage_metadata)
    costs = [missed.headers.get(COST_HEADER, ""), message.response_metadata.pop("cost", "")]
    amounts, currencies = zip(*(cost.partition(" ")[::2] for cost in costs), strict=True)
    if all(amounts) and len(set(currencies)) == 1:
        message.response_metadata["cost"] = f"{sum(map(Decimal, amounts)):f} {currencies[0]}"


def reply_metadata(model: ChatDeepSeek, call: ChatCall, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what response_metadata says beside the body: who answered, for how much, what was changed."""
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


def as_answer(message: AIMessage) -> dict[str, Any]:
    """Return a message in wire form, to be shown to the model that wrote it."""
    reasoning = message.additional_kwargs.get("reasoning_content", "")
    return {"role": "assistant", "content": message.text, "reasoning_content": reasoning}


def check_called(call: ChatCall, message: AIMessage) -> None:
    """Raise OutputError if the call that was asked for in words was not made."""
    if call.misses(_called(message)):
        wanted = f"the tool {call.must_call!r}" if call.must_call else "a tool"
        raise OutputError(
            f"the model did not call {wanted}, though it was told to twice",
            output=message.text,
            help_message="Use forced_tool_choice='disable_thinking', with which the API enforces the call.",
        )


def check_finish(message: AIMessage) -> None:
    """Raise OverloadedError, which has the message as `partial`, if the backend gave it up half-way."""
    if message.response_metadata.get("finish_reason") == GIVEN_UP:
        raise chat_overloaded(f"the backend gave the answer up half-way: {GIVEN_UP}", partial=message)


def _called(message: AIMessage) -> list[str]:
    """Return the tools a message calls; a call whose arguments are no JSON has been made, too."""
    return [call["name"] or "" for call in (*message.tool_calls, *message.invalid_tool_calls)]
