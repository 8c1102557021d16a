"""The prompt that the hosted API makes of a request, written by DeepSeek's own library. No tokens here.

What the API would refuse (an unfinished tool loop, a value out of range) is written down all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deepseek_apps.catalog.prompts import PromptFacts

if TYPE_CHECKING:
    from deepseek_recipe import Conversation, Message, RenderedPrompt, ToolDefinition

__all__ = ["image_parts", "plain_text", "render_prompt"]

# What else a request holds does not show in its prompt.
_FIELDS = ("messages", "tools", "tool_choice", "thinking", "reasoning_effort", "response_format")
_IMAGE_TYPES = ("image_url", "file")
_PLACEHOLDER = {"type": "image_url", "image_url": {"url": "https://image.invalid/"}}
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max", "ultra")


def render_prompt(body: Mapping[str, Any], facts: PromptFacts) -> RenderedPrompt:
    """Write a request's prompt.

    Args:
        body: A chat request of the hosted dialect; fields that do not show in the prompt are not looked at.
        facts: The model's.
    """
    # Lazy: a native library of its own, for counting only.
    from deepseek_recipe import (  # noqa: PLC0415
        ChatCompletionRequest,
        ConversionError,
        ConversionOptions,
        DeepseekV4Encoding,
        DeepseekV41Encoding,
        ModelVersion,
    )

    old = facts.encoding == "v4"
    version = ModelVersion.DeepseekV4Pro if old else ModelVersion.DeepseekV41Flash
    options = ConversionOptions().with_model_versions_by_name({facts.model: version})
    shown = {name: body[name] for name in _FIELDS if body.get(name) is not None}
    shown["messages"] = [
        _with_placeholders(message, seen=facts.image_tokens > 0) for message in shown.get("messages", ())
    ]
    shown["model"] = facts.model
    text = json.dumps(shown, ensure_ascii=False).encode(errors="replace")  # lone surrogates as "?"
    try:
        conversation = ChatCompletionRequest(text).convert(options).conversation
    except (ConversionError, ValueError):
        conversation = _as_it_is(json.loads(text))
    return (DeepseekV4Encoding() if old else DeepseekV41Encoding()).render_conversation(conversation)


def image_parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the images of all messages, as content parts."""
    for message in body.get("messages") or ():
        yield from (part for part in _parts(message) if part.get("type") in _IMAGE_TYPES)


def plain_text(body: Mapping[str, Any]) -> str:
    """Return all that a request says, without markup: texts, reasoning, calls and tools."""
    said: list[str] = [json.dumps(tool, ensure_ascii=False) for tool in body.get("tools") or ()]
    for message in body.get("messages") or ():
        calls = [json.dumps(_mapping(call).get("function")) for call in message.get("tool_calls") or ()]
        said += [
            str(message.get("role")),
            str(message.get("reasoning_content") or ""),
            _text(message),
            *calls,
        ]
    return "\n".join(said)


def _with_placeholders(message: Mapping[str, Any], *, seen: bool) -> Mapping[str, Any]:
    """Put an address in the place of each image, or nothing where the model does not see images."""
    parts = _parts(message)
    if not any(part.get("type") in _IMAGE_TYPES for part in parts):
        return message
    shown = [_PLACEHOLDER if part.get("type") in _IMAGE_TYPES else part for part in parts]
    return {**message, "content": [part for part in shown if seen or part is not _PLACEHOLDER]}


def _as_it_is(body: Mapping[str, Any]) -> Conversation:
    """Build the conversation of a request that the API refuses, leaving out what has no place in a prompt."""
    from deepseek_recipe import Conversation  # noqa: PLC0415

    effort = body.get("reasoning_effort")
    thinking = _mapping(body.get("thinking")).get("type") != "disabled" and effort != "none"
    kind = _mapping(body.get("response_format")).get("type")
    return Conversation(
        [_message(message) for message in body["messages"]],
        thinking_mode=thinking,
        tools=_tools(body.get("tools")),
        reasoning_effort=effort if effort in _EFFORTS else None,
        response_format="text" if kind in (None, "text") else "json_object",
    )


def _message(message: Mapping[str, Any]) -> Message:
    from deepseek_recipe import (  # noqa: PLC0415
        AssistantMessage,
        SystemMessage,
        ToolCall,
        ToolMessage,
        UserMessage,
    )

    text = _text(message)
    match message.get("role"):
        case "system" | "developer":
            return SystemMessage(text)
        case "tool":
            return ToolMessage(text, str(message.get("tool_call_id") or ""))
        case "assistant":
            functions = [_mapping(call).get("function") for call in message.get("tool_calls") or ()]
            calls = [
                ToolCall("", str(f.get("name") or ""), str(f.get("arguments") or ""))
                for f in map(_mapping, functions)
            ]
            prefix = message.get("prefix") is True
            return AssistantMessage(text, message.get("reasoning_content"), calls or None, prefix)
    return UserMessage(text)


def _tools(tools: object) -> Sequence[ToolDefinition]:
    from deepseek_recipe import ToolDefinition  # noqa: PLC0415

    functions = (
        [_mapping(_mapping(tool).get("function")) for tool in tools] if isinstance(tools, list) else []
    )
    return [
        ToolDefinition(str(f.get("name") or ""), f.get("description"), f.get("parameters")) for f in functions
    ]


def _text(message: Mapping[str, Any]) -> str:
    if isinstance(content := message.get("content"), str):
        return content
    return "\n\n".join(str(part["text"]) for part in _parts(message) if part.get("text"))


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return [_mapping(part) for part in content] if isinstance(content, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
