"""What ChatDeepSeek sends: pure functions from its parameters to the body of one request.

Messages and tools are turned into wire form by wire/; here are the parameters, and what must be changed
because the API refuses some combinations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

__all__ = [
    "ChatCall",
    "ForcedToolChoice",
    "RequestOptions",
    "plan_call",
]

ForcedToolChoice: TypeAlias = Literal["disable_thinking", "instruct"]
# Arguments of one call that concern its transport and not its body.
OPTION_NAMES = ("timeout", "extra_headers", "extra_query")


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What one call says about its transport.

    Attributes:
        timeout: Seconds to wait for the next byte, or an httpx2.Timeout; None leaves the client's.
        headers: Sent besides the client's.
        query: Added to the address.
    """

    timeout: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, object] = field(default_factory=dict)


def thinks(body: Mapping[str, Any]) -> bool:
    """Whether the hosted API thinks before it answers this: unless told otherwise, it does."""
    kind = (body.get("thinking") or {}).get("type", "enabled")
    return kind != "disabled" and body.get("reasoning_effort") != "none"


def forced_tool(body: Mapping[str, Any]) -> str | None:
    """Return the tool that the request forces, "" for any of them, None when it forces none."""
    choice = body.get("tool_choice")
    if not body.get("tools") or choice in (None, "auto", "none"):
        return None
    if isinstance(choice, Mapping):
        function = choice.get("function")
        return str(function.get("name", "")) if isinstance(function, Mapping) else ""
    return ""


def without_thinking(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with thinking off, in which the API honours a forced tool."""
    rest = {name: value for name, value in body.items() if name != "reasoning_effort"}
    return rest | {"thinking": {"type": "disabled"}}


def add_instruction(
    body: Mapping[str, Any], tool: str, *, after: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return the request with the forced call asked for in words instead, so that thinking can stay on.

    Args:
        body: A request with `tool_choice`.
        tool: The tool to call, "" for any.
        after: Messages of an attempt that made no call, to be shown before the instruction.
    """
    wanted = f"the tool `{tool}`" if tool else "at least one of the tools"
    text = f"Answer by calling {wanted}; do not answer in plain text."
    if after:
        text = f"You did not call a tool. {text}"
    # At the end, so that the cached prefix of the conversation stays the same.
    note = {"role": "user" if after else "system", "content": text}
    return {**body, "tool_choice": "auto", "messages": [*body["messages"], *after, note]}


def split_options(parameters: dict[str, Any]) -> tuple[dict[str, Any], RequestOptions]:
    """Take what concerns the transport out of a call's parameters; `extra_body` becomes part of the body.

    `max_completion_tokens` is renamed: the hosted API ignores it silently.
    """
    body = {name: value for name, value in parameters.items() if name not in OPTION_NAMES}
    body.update(body.pop("extra_body", None) or {})
    limit = body.pop("max_completion_tokens", None)
    if limit is not None:
        body.setdefault("max_tokens", limit)
    options = RequestOptions(
        timeout=parameters.get("timeout"),
        headers=parameters.get("extra_headers") or {},
        query=parameters.get("extra_query") or {},
    )
    return body, options


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """One call of a chat model, ready to send.

    Attributes:
        body: The request's JSON.
        options: What concerns the transport.
        must_call: Tool that has to be called and is only asked for in words, "" for any; None if there is
            none.
        notes: Put into the reply's response_metadata.
    """

    body: dict[str, Any]
    options: RequestOptions
    must_call: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def has_tools(self) -> bool:
        """Whether tools were declared, without which tool markup in an answer is mere text."""
        return bool(self.body.get("tools"))

    def misses(self, called: Sequence[str]) -> bool:
        """Whether an answer that called these tools lacks the one it had to call."""
        if self.must_call is None:
            return False
        return self.must_call not in called if self.must_call else not called

    def again(self, answer: Mapping[str, Any]) -> ChatCall:
        """Return the second and last attempt, after an answer that called no tool."""
        body = add_instruction(self.body, self.must_call or "", after=[answer])
        return replace(self, body=body, notes={"forced_tool_choice": "instructed again"})


def plan_call(parameters: dict[str, Any], how: ForcedToolChoice) -> ChatCall:
    """Return the call to make; a forced tool, which the API refuses while the model thinks, is arranged for.

    Args:
        parameters: Body and transport options mixed, as a call's keyword arguments are.
        how: "disable_thinking" for this one call, or "instruct": keep thinking, ask in words, and check.
    """
    body, options = split_options(parameters)
    tool = forced_tool(body)
    if tool is None or not thinks(body):
        return ChatCall(body=body, options=options)
    if how == "disable_thinking":
        notes = {"forced_tool_choice": "thinking disabled"}
        return ChatCall(body=without_thinking(body), options=options, notes=notes)
    notes = {"forced_tool_choice": "instructed"}
    return ChatCall(body=add_instruction(body, tool), options=options, must_call=tool, notes=notes)
