"""A reply in DeepSeek's dialect to LangChain's messages, whole or streamed; both give the same message.

Knows nothing of HTTP and SSE: it takes parsed bodies and events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from deepseek_apps.errors import OverloadedError
from deepseek_apps.usage import usage_metadata
from deepseek_apps.wire.call_deltas import CallDeltas, NewCallId, new_call_id, sorted_calls
from deepseek_apps.wire.dsml import FoundCall, MarkupReader

__all__ = ["ChunkReader", "message_of"]

_PROVIDER = {"model_provider": "deepseek"}


def message_of(
    body: Mapping[str, Any],
    *,
    tools_declared: bool,
    choice: int = 0,
    new_id: NewCallId = new_call_id,
) -> AIMessage:
    """Return the message of a `chat.completion` body.

    Reasoning goes to `additional_kwargs["reasoning_content"]`, usage to `usage_metadata`; `response_metadata`
    names the provider, model, finish_reason, fingerprint, id and logprobs. Null and missing fields are
    tolerated.

    Args:
        body: The parsed reply.
        tools_declared: Whether the request had tools: only then is tool markup left in the content read as
            calls.
        choice: Which of several choices.
        new_id: Makes ids for calls that came without one.

    Raises:
        OverloadedError: The body has no such choice, which servers answer when they gave up half-way.
    """
    choices = body.get("choices") or ()
    if choice >= len(choices):
        raise OverloadedError(f"the reply has no choice {choice}: {_error_text(body)}")
    chosen = choices[choice]
    said = chosen.get("message") or {}
    content, found = _text(said.get("content")), list[FoundCall]()
    metadata = _metadata(body, chosen)
    if tools_declared and "<" in content:
        content, found = _without_markup(content, cut=metadata.get("finish_reason") == "length")
    calls, invalid = sorted_calls([*(said.get("tool_calls") or ()), *map(_raw_call, found)], new_id)
    usage = body.get("usage")
    return AIMessage(
        content=content,
        additional_kwargs=_reasoning(said),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage_metadata(usage) if usage else None,
        response_metadata=_recovered(metadata) if found else metadata,
    )


class ChunkReader:
    """Reads one stream's events into message chunks that fold to what `message_of` gives for the whole reply.

    Text and calls never share a chunk, usage is on exactly one, and all metadata is on the chunk that says
    why the reply ended. Feed it every event in order, then call `finish` once.

    Args:
        tools_declared: Whether the request had tools: only then is tool markup left in the content read as
            calls.
        new_id: Makes ids for calls that came without one.
    """

    def __init__(self, *, tools_declared: bool, new_id: NewCallId = new_call_id) -> None:
        self._markup = MarkupReader() if tools_declared else None
        self._calls = CallDeltas(new_id)
        self._recovered = False
        self._ended = False
        self._usage: Mapping[str, Any] | None = None
        self._usage_sent = False
        self._last_event: Mapping[str, Any] = {}

    def read(self, event: Mapping[str, Any]) -> list[AIMessageChunk]:
        """Return the chunks for one event: none when it says nothing, mostly one."""
        usage = event.get("usage")
        if usage:
            self._usage = usage
        choice = _first_choice(event.get("choices"))
        if choice is None:
            return self._usage_chunk() if self._ended else []
        self._last_event = event
        delta = choice.get("delta") or {}
        content = _text(delta.get("content"))
        if content and self._markup is not None:
            content, found = self._markup.push(content)
        else:
            found = None
        chunks = self._spoken(delta, choice, content)
        if raw := delta.get("tool_calls"):
            chunks += self._called(raw)
        if found:
            self._recovered = True
            chunks += self._called([_raw_call(call) for call in found])
        return chunks + self._end(choice) if choice.get("finish_reason") else chunks

    def finish(self) -> list[AIMessageChunk]:
        """Return what is left when the stream has ended: held back text, the end if none was told, usage."""
        if self._ended or not self._last_event:
            return self._usage_chunk()
        return self._end({})

    def _spoken(
        self, delta: Mapping[str, Any], choice: Mapping[str, Any], content: str
    ) -> list[AIMessageChunk]:
        reasoning = _reasoning(delta)
        logprobs = _logprobs(choice)
        if not (content or reasoning or logprobs):
            return []
        metadata = {**_PROVIDER, "logprobs": logprobs} if logprobs else dict(_PROVIDER)
        return [AIMessageChunk(content=content, additional_kwargs=reasoning, response_metadata=metadata)]

    def _called(self, raw: Sequence[Mapping[str, Any]]) -> list[AIMessageChunk]:
        parts = [part for call in raw if (part := self._calls.read(call)) is not None]
        return _call_chunk(parts)

    def _end(self, choice: Mapping[str, Any]) -> list[AIMessageChunk]:
        """Return the last words, then the calls among them, then the chunk that says why the reply ended."""
        self._ended = True
        metadata = _metadata(self._last_event, {"finish_reason": choice.get("finish_reason")})
        text, found = "", list[FoundCall]()
        if self._markup is not None:
            text, found = self._markup.finish(cut=metadata.get("finish_reason") == "length")
        chunks = [AIMessageChunk(content=text, response_metadata=dict(_PROVIDER))] if text else []
        chunks += self._called([_raw_call(call) for call in found])
        chunks += _call_chunk(self._calls.close())
        if found or self._recovered:
            metadata = _recovered(metadata)
        last = AIMessageChunk(content="", response_metadata=metadata, usage_metadata=self._take_usage())
        return [*chunks, last]

    def _usage_chunk(self) -> list[AIMessageChunk]:
        usage = self._take_usage()
        if usage is None:
            return []
        return [AIMessageChunk(content="", usage_metadata=usage, response_metadata=dict(_PROVIDER))]

    def _take_usage(self) -> UsageMetadata | None:
        if self._usage is None or self._usage_sent:
            return None
        self._usage_sent = True
        return usage_metadata(self._usage)


def _first_choice(choices: Any) -> Mapping[str, Any] | None:
    """Return the choice with index 0, none in events that carry only usage."""
    return next((choice for choice in choices if not choice.get("index")), None) if choices else None


def _call_chunk(parts: list[Any]) -> list[AIMessageChunk]:
    if not parts:
        return []
    return [AIMessageChunk(content="", tool_call_chunks=parts, response_metadata=dict(_PROVIDER))]


def _without_markup(content: str, *, cut: bool) -> tuple[str, list[FoundCall]]:
    reader = MarkupReader()
    text, found = reader.push(content)
    rest, more = reader.finish(cut=cut)
    return text + rest, found + more


def _raw_call(call: FoundCall) -> Mapping[str, Any]:
    return {"function": {"name": call.name, "arguments": call.arguments}}


def _text(content: object) -> str:
    """Return a content field as text; a few servers send a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))


def _reasoning(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reasoning under the name LangChain knows; vLLM and gateways call it `reasoning`."""
    text = said.get("reasoning_content") or said.get("reasoning")
    return {"reasoning_content": text} if isinstance(text, str) and text else {}


def _logprobs(choice: Mapping[str, Any]) -> dict[str, Any] | None:
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return None
    return {key: value for key, value in logprobs.items() if value} or None


def _metadata(body: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        "model_name": body.get("model"),
        "id": body.get("id"),
        "system_fingerprint": body.get("system_fingerprint"),
        "finish_reason": choice.get("finish_reason"),
        "logprobs": _logprobs(choice),
    }
    return {**_PROVIDER, **{key: value for key, value in fields.items() if value}}


def _recovered(metadata: dict[str, Any]) -> dict[str, Any]:
    """Say that calls were read out of the text, and end as a reply with calls does."""
    reason = metadata.get("finish_reason", "stop")
    return {
        **metadata,
        "finish_reason": "tool_calls" if reason == "stop" else reason,
        "tool_calls_recovered": True,
    }


def _error_text(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    message = error.get("message") if isinstance(error, Mapping) else error
    return str(message or f"its fields are {', '.join(map(str, body)) or 'none'}")
