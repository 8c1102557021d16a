"""LangChain messages to the messages of a DeepSeek request.

One direction, one pass, no copies of what needs no change. Replies come back through `wire.replies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from deepseek_apps.errors import InvalidRequestError
from deepseek_apps.wire.content import assistant_text, blocks_of, input_content, reasoning_text, tool_content
from deepseek_apps.wire.text import clean_text
from deepseek_apps.wire.tool_calls import CallIds, wire_calls

__all__ = ["ReasoningEcho", "to_wire"]

ReasoningEcho = Literal["all", "tool_turns", "never"]

# Roles that a ChatMessage may name, and the API's word for each.
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "latest_reminder": "latest_reminder",
}


def to_wire(
    messages: Sequence[BaseMessage],
    *,
    reasoning: ReasoningEcho = "all",
    images: bool = True,
    model: str = "",
) -> list[dict[str, Any]]:
    """Return the `messages` of a request in DeepSeek's dialect.

    Reasoning is read from `additional_kwargs["reasoning_content"]` or from reasoning and thinking blocks, and
    sent with the message it belongs to. A message with tool calls always carries the field, empty if need be,
    because the API answers 400 where it is missing.

    Args:
        messages: The conversation.
        reasoning: Which reasoning to send back: all of it, that of user turns in which tools were called, or
            none (for servers that refuse the field).
        images: Whether the model sees images.
        model: Its name, for errors.

    Raises:
        InvalidRequestError: A message or block that the API cannot take: images where the model sees none,
            audio, video, PDF, an unknown role, or `prefix` on a message that is not the last.
    """
    wire: list[dict[str, Any]] = []
    ids = CallIds()
    for message in messages:
        if (said := _as_ai(message)) is not None:
            wire.append(_assistant(said, ids, len(wire)))
        elif isinstance(message, ToolMessage):
            wire.append(_tool(message, ids, images=images, model=model))
        elif isinstance(message, HumanMessage):
            wire.extend(_user(message, ids, images=images, model=model))
        else:
            wire.append(_other(message, images=images, model=model))
    _check_prefix(wire)
    if reasoning != "all":
        _drop_reasoning(wire, keep_tool_turns=reasoning == "tool_turns")
    return wire


def _as_ai(message: BaseMessage) -> AIMessage | None:
    if isinstance(message, AIMessage):
        return message
    if isinstance(message, ChatMessage) and _ROLES.get(message.role) == "assistant":
        return AIMessage(
            content=message.content, additional_kwargs=message.additional_kwargs, name=message.name
        )
    return None


def _assistant(message: AIMessage, ids: CallIds, position: int) -> dict[str, Any]:
    extra = message.additional_kwargs
    wire = _named(message, {"role": "assistant", "content": assistant_text(message.content)})
    given = extra.get("reasoning_content") or extra.get("reasoning")
    thought = given if isinstance(given, str) else reasoning_text(message.content)
    calls = wire_calls(message)
    ids.open_calls(calls, position)
    if thought or calls:
        wire["reasoning_content"] = clean_text(thought)
    if calls:
        wire["tool_calls"] = calls
    if extra.get("prefix"):
        wire["prefix"] = True
    return wire


def _tool(message: ToolMessage, ids: CallIds, *, images: bool, model: str) -> dict[str, Any]:
    """Return a tool's result. Its artifact stays here; an error with nothing to read says that it is one."""
    content = tool_content(message.content, images=images, model=model)
    if not content and message.status == "error":
        content = "Error: the tool failed and said nothing."
    call_id = ids.result_id(message.tool_call_id or "", message.name)
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _user(message: HumanMessage, ids: CallIds, *, images: bool, model: str) -> list[dict[str, Any]]:
    """Return a user message, after the results that Anthropic's form keeps in it."""
    if isinstance(message.content, str):
        return [_named(message, {"role": "user", "content": clean_text(message.content)})]
    results: list[dict[str, Any]] = []
    rest: list[Any] = []
    for block in blocks_of(message.content):
        if block.get("type") == "tool_result":
            content = tool_content(block.get("content"), images=images, model=model)
            call_id = ids.result_id(str(block.get("tool_use_id") or ""), None)
            results.append({"role": "tool", "tool_call_id": call_id, "content": content})
        else:
            rest.append(block)
    if results and not rest:
        return results
    content = input_content(rest, images=images, model=model)
    return [*results, _named(message, {"role": "user", "content": content})]


def _other(message: BaseMessage, *, images: bool, model: str) -> dict[str, Any]:
    """Return a system message or a ChatMessage, whose role is its own."""
    role = message.role if isinstance(message, ChatMessage) else message.type
    if isinstance(message, SystemMessage):
        role = "system"
    known = _ROLES.get(role)
    if known is None:
        raise InvalidRequestError(
            f"the API has no role {role!r} ({type(message).__name__})",
            help_message="Use system, user, assistant or latest_reminder; a tool's result is a ToolMessage.",
        )
    content = input_content(message.content, images=images, model=model)
    return _named(message, {"role": known, "content": content})


def _named(message: BaseMessage, wire: dict[str, Any]) -> dict[str, Any]:
    if name := message.name or message.additional_kwargs.get("name"):
        wire["name"] = clean_text(str(name))
    return wire


def _check_prefix(wire: list[dict[str, Any]]) -> None:
    for place, message in enumerate(wire[:-1]):
        if "prefix" in message:
            raise InvalidRequestError(
                f"message {place + 1} of {len(wire)} has prefix set; only the last one can be continued",
                help_message="Remove additional_kwargs['prefix'] from messages that have been answered.",
            )


def _drop_reasoning(wire: list[dict[str, Any]], *, keep_tool_turns: bool) -> None:
    """Take the field out, except, where asked for, in user turns in which tools were called."""
    turn: list[dict[str, Any]] = []
    for message in [*wire, {"role": "user"}]:
        if message["role"] != "user":
            turn.append(message)
            continue
        if not (keep_tool_turns and any("tool_calls" in said for said in turn)):
            for said in turn:
                said.pop("reasoning_content", None)
        turn.clear()
