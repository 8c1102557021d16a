"""A scripted message on its way out: its usage, and the chunks it is streamed in. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

__all__ = ["chunks_of", "with_usage"]

_WORD = re.compile(r"\s*\S+|\s+$")
_CHARACTERS_PER_TOKEN = 4


def with_usage(message: AIMessage, asked: list[BaseMessage], model: str) -> AIMessage:
    """Return a copy with what it lacks: an estimate of its tokens, and the model's name."""
    usage = message.usage_metadata or _usage(message, asked)
    metadata = {"model_name": model, "model_provider": "scripted", "finish_reason": _finish(message)}
    return message.model_copy(
        update={"usage_metadata": usage, "response_metadata": metadata | message.response_metadata}
    )


def chunks_of(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """Give a message in chunks that add up to it: reasoning, words, calls, then usage."""
    reasoning = message.additional_kwargs.get("reasoning_content")
    if isinstance(reasoning, str):
        yield from (_chunk(additional_kwargs={"reasoning_content": word}) for word in _words(reasoning))
    others = {name: value for name, value in message.additional_kwargs.items() if value is not reasoning}
    if others:
        yield _chunk(additional_kwargs=others)
    if isinstance(message.content, str):
        yield from (_chunk(content=word) for word in _words(message.content))
    else:
        yield _chunk(content=message.content)
    yield from _call_chunks(message)
    yield _chunk(
        id=message.id,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
        chunk_position="last",
    )


def _call_chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    calls: list[tuple[str | None, str, str | None]] = [
        (call["name"], json.dumps(call["args"], ensure_ascii=False), call["id"])
        for call in message.tool_calls
    ]
    calls += [(call["name"], call["args"] or "", call["id"]) for call in message.invalid_tool_calls]
    for index, (name, args, identity) in enumerate(calls):
        half = len(args) // 2
        begin = tool_call_chunk(name=name, args=args[:half], id=identity, index=index)
        rest = tool_call_chunk(args=args[half:], index=index)
        yield _chunk(tool_call_chunks=[begin])
        yield _chunk(tool_call_chunks=[rest])


def _chunk(content: str | list[str | dict[str, object]] = "", **fields: object) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=content, **fields))  # type: ignore[arg-type]


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _finish(message: AIMessage) -> str:
    return "tool_calls" if message.tool_calls or message.invalid_tool_calls else "stop"


def _usage(message: AIMessage, asked: list[BaseMessage]) -> UsageMetadata:
    written = [message.text, *(json.dumps(call["args"]) for call in message.tool_calls)]
    read = sum(_tokens(each.text) for each in asked)
    return UsageMetadata(
        input_tokens=read,
        output_tokens=sum(map(_tokens, written)),
        total_tokens=read + sum(map(_tokens, written)),
    )


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)
