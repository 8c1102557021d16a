"""Tool calls in a conversation's history: LangChain's and Anthropic's forms to the wire's, ids matched.

The API refuses calls whose results are missing, results without a call, and one id used twice in a message.
Servers that send empty or repeated ids are common; here each such call gets an id of its own, and its result
follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage

from deepseek_apps.wire.content import blocks_of
from deepseek_apps.wire.text import clean_text, json_text

__all__ = ["CallIds", "wire_calls"]

_CONTENT_CALLS = frozenset({"tool_call", "invalid_tool_call", "tool_use", "function_call"})


class CallIds:
    """Which id each call of the last assistant message got on the wire, so that results can follow."""

    def __init__(self) -> None:
        self._open: dict[str, list[tuple[str, str]]] = {}  # id as it was -> (id on the wire, tool's name)

    def open_calls(self, calls: list[dict[str, Any]], position: int) -> None:
        """Give every call an id of its own; calls without one get it from where they stand.

        Args:
            calls: An assistant message's calls in wire form; their ids are changed in place.
            position: The message's place in the conversation, so that the ids stay the same in every request.
        """
        self._open.clear()
        taken: set[str] = set()
        for index, call in enumerate(calls):
            given = call["id"]
            if not given or given in taken:
                call["id"] = f"call_{index:02d}_{position}"
            taken.add(call["id"])
            self._open.setdefault(given, []).append((call["id"], call["function"]["name"]))

    def result_id(self, given: str, name: str | None) -> str:
        """Return the wire id for a result: that of the first open call with its id, by name if it can."""
        waiting = self._open.get(given)
        if not waiting:
            return given
        place = next((i for i, (_, called) in enumerate(waiting) if called == name), 0)
        return waiting.pop(place)[0] if len(waiting) > 1 else waiting[0][0]


def wire_calls(message: AIMessage) -> list[dict[str, Any]]:
    """Return a message's calls in wire form, invalid ones included, each of them once.

    `tool_calls` and `invalid_tool_calls` say what was called; blocks in the content repeat them and count
    only in messages that have neither (history written in Anthropic's form).
    """
    calls = [_call(call.get("id"), call["name"], call.get("args")) for call in message.tool_calls]
    calls += [
        _call(call.get("id"), call.get("name"), call.get("args")) for call in message.invalid_tool_calls
    ]
    if calls:
        return calls
    if raw := message.additional_kwargs.get("tool_calls"):
        return [_raw_call(call) for call in raw]
    return list(_content_calls(message)) if isinstance(message.content, list) else []


def _content_calls(message: AIMessage) -> Iterator[dict[str, Any]]:
    for block in blocks_of(message.content):
        if block.get("type") in _CONTENT_CALLS:
            args = next((block[key] for key in ("args", "input", "arguments") if key in block), None)
            yield _call(block.get("call_id") or block.get("id"), block.get("name"), args)


def _raw_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return _call(call.get("id"), function.get("name"), function.get("arguments"))


def _call(call_id: object, name: object, args: object) -> dict[str, Any]:
    """Return one call in wire form. Arguments that are text already stay so: the API takes any string."""
    arguments = clean_text(args) if isinstance(args, str) else json_text({} if args is None else args)
    return {
        "id": str(call_id or ""),
        "type": "function",
        "function": {"name": str(name or ""), "arguments": arguments},
    }
