"""What a model says when it is asked for structured output: wire replies, and the schema they answer."""

from __future__ import annotations

import json
from typing import Any

from fake_deepseek import USAGE, FakeDeepSeek, Reply, chunk, event_stream
from pydantic import BaseModel, Field

from deepseek_apps.chat_model import ChatDeepSeek

GOOD = '{"setup": "Why?", "punchline": "Because."}'
HALF = '{"setup": "Why?"}'


class Joke(BaseModel):
    """A joke."""

    setup: str = Field(description="the question")
    punchline: str = Field(description="the answer")


JOKE = Joke(setup="Why?", punchline="Because.")


def model(fake: FakeDeepSeek) -> ChatDeepSeek:
    """Our chat model, on the fake."""
    return ChatDeepSeek(
        model="deepseek-flash", backend="hosted", api_key="key", base_url=fake.url, max_retries=0
    )


def said(content: str, finish: str = "stop", **message: Any) -> Reply:
    """A whole answer; `reasoning_tokens` goes into its usage."""
    details = {"completion_tokens_details": {"reasoning_tokens": message.pop("reasoning_tokens", 0)}}
    return _whole({"role": "assistant", "content": content, **message}, finish, USAGE | details)


def called(arguments: str, name: str = "Joke") -> Reply:
    """An answer that calls a tool."""
    call = {"id": "call-1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return _whole({"role": "assistant", "content": "", "tool_calls": [call]}, "tool_calls", USAGE)


def streamed(*texts: str, finish: str = "stop") -> Reply:
    """A streamed answer."""
    parts = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in texts)]
    return event_stream(*parts, chunk({"content": ""}, finish), b"data: [DONE]\n\n")


def streamed_call(*arguments: str, name: str = "Joke") -> Reply:
    """A streamed call, its arguments in pieces."""
    head = {"index": 0, "id": "call-1", "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": piece}} for piece in arguments]
    parts = [chunk({"tool_calls": [piece]}) for piece in [head, *pieces]]
    return event_stream(*parts, chunk({"content": ""}, "tool_calls"), b"data: [DONE]\n\n")


def _whole(message: dict[str, Any], finish: str, usage: dict[str, Any]) -> Reply:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "deepseek-flash"}
    return Reply((json.dumps(body | {"choices": [choice], "usage": usage}).encode(),))
