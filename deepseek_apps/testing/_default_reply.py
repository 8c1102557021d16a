"""What the fake says when nothing is scripted: the same for the same request. Pure.

It calls a tool when it must, or when the last user message names one; it fills the schema in the prompt when
JSON is asked for; otherwise it repeats what it was asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from deepseek_recipe import Conversation, ToolDefinition

from deepseek_apps.testing.replies import Reply
from deepseek_apps.testing.requests import Request, text_of
from deepseek_apps.testing.schemas import fill_schema

__all__ = ["default_fim_reply", "default_reply"]

_SCHEMA_WORDS = {"$ref", "properties", "anyOf", "enum", "const"}
_LONGEST_ECHO = 200


def default_reply(request: Request, conversation: Conversation) -> Reply:
    """Answer a chat request.

    Args:
        request: As it was sent.
        conversation: As the API understands it.
    """
    last = conversation.messages[-1] if conversation.messages else None
    tool = None if last is None or last.role == "tool" else _called(request, conversation)
    if tool is not None:
        arguments = fill_schema(tool.parameters or {"type": "object"})
        made = arguments if isinstance(arguments, dict) else {}
        return Reply(reasoning=f"I should call {tool.name}.", tool_calls=[(tool.name, made)])
    if conversation.response_format == "json_object":
        schemas = [
            found for message in request.messages for found in _schemas(text_of(message.get("content")))
        ]
        value = fill_schema(schemas[-1]) if schemas else {"answer": _echo(request)}
        return Reply(json.dumps(value, ensure_ascii=False), reasoning="I should answer with JSON.")
    if last is not None and last.role == "tool":
        return Reply(f"The tool said: {_shortened(last.content)}", reasoning="The tool has answered.")
    return Reply(_echo(request), reasoning="I should repeat what was said.")


def default_fim_reply(prompt: str, suffix: str) -> Reply:
    """Answer a completion: a comment that says what surrounds the hole."""
    return Reply(f"# between {len(prompt)} and {len(suffix)} characters\n")


def _called(request: Request, conversation: Conversation) -> ToolDefinition | None:
    tools = conversation.tools
    if conversation.tool_choice == "required" and tools:
        return tools[0]
    said = request.last_user_text
    return next((tool for tool in tools if re.search(rf"\b{re.escape(tool.name)}\b", said)), None)


def _echo(request: Request) -> str:
    return f"You said: {_shortened(request.last_user_text)}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_ECHO else f"{text[:_LONGEST_ECHO]}…"


def _schemas(text: str) -> Iterator[dict[str, Any]]:
    """Give the outermost JSON objects in a text that look like schemas."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except ValueError:
            end = place + 1
        else:
            if isinstance(value, dict) and _SCHEMA_WORDS & value.keys():
                yield value
        place = text.find("{", end)
