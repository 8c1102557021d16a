"""Requests as conversations: what the recipe makes of a chat completions body."""

from __future__ import annotations

from typing import Any

import deepseek_recipe as recipe

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
NOW = {"type": "function", "function": {"name": "now", "description": "The time"}}


def convert(*messages: dict[str, Any], thinking: bool = False, **fields: Any) -> recipe.ConversationRequest:
    """Convert a request body with these messages (one saying "Answer in JSON." if there are none)."""
    body = {
        "model": "toy",
        "messages": list(messages) or [{"role": "user", "content": "Answer in JSON."}],
        "thinking": {"type": "enabled" if thinking else "disabled"},
        **fields,
    }
    options = recipe.ConversionOptions().with_model_alias("toy", recipe.ModelVersion.DeepseekV4Pro)
    return recipe.ChatCompletionRequest(body).convert(options)


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str | None, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


def call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(identity: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content}
