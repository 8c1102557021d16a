"""The tool calls of a reply: whole ones to LangChain's two lists, streamed ones to chunks that fold alike.

Every call gets an id, one of its own: agents match results to calls by it, and some servers send none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain_core.messages import InvalidToolCall, ToolCall, ToolCallChunk

__all__ = ["FIRST_CALL_INDEX", "CallDeltas", "NewCallId", "arguments_of", "new_call_id", "sorted_calls"]

# LangChain merges the blocks of a streamed message by index, and counts text and reasoning from 0. Calls that
# began at 0 too would melt into the reasoning block under output_version="v1", so they stand past what those
# can take.
FIRST_CALL_INDEX = 8

# Makes an id for the call at this place in its message.
NewCallId = Callable[[int], str]


def new_call_id(place: int) -> str:
    """Return an id in the hosted form: `call_00_` and 24 hexadecimal digits."""
    return f"call_{place:02d}_{uuid4().hex[:24]}"


def arguments_of(text: str) -> dict[str, Any]:
    """Return a call's arguments; no text at all means none.

    Raises:
        ValueError: The text is no JSON object.
    """
    if not text:
        return {}
    try:
        arguments = json.loads(text, strict=False)
    except RecursionError:
        raise ValueError("the arguments are nested too deeply") from None
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments are no JSON object but {type(arguments).__name__}")
    return arguments


def sorted_calls(
    raw: list[Mapping[str, Any]], new_id: NewCallId
) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Return a whole reply's calls: those whose arguments are a JSON object, and those whose are not."""
    valid: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    taken: set[str] = set()
    for place, call in enumerate(raw):
        name, arguments = _function(call)
        call_id = _own_id(call.get("id"), taken, place, new_id)
        try:
            valid.append(ToolCall(name=name, args=arguments_of(arguments), id=call_id, type="tool_call"))
        except ValueError as exc:
            error = f"the arguments of {name} are unusable: {exc}"
            invalid.append(
                InvalidToolCall(name=name, args=arguments, id=call_id, error=error, type="invalid_tool_call")
            )
    return valid, invalid


@dataclass(slots=True)
class _Call:
    place: int
    given_id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class CallDeltas:
    """The calls of one stream: raw deltas in, LangChain's tool call chunks out.

    Tolerates deltas without index or id, ids and names repeated on every delta, and several calls that share
    one index; none of those may change what the chunks fold to.
    """

    def __init__(self, new_id: NewCallId = new_call_id) -> None:
        self._new_id = new_id
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._taken: set[str] = set()

    def read(self, raw: Mapping[str, Any]) -> ToolCallChunk | None:
        """Return the chunk for one element of a delta's `tool_calls`, None when it adds nothing."""
        name, arguments = _function(raw)
        call = self._known(raw)
        if call is None:
            return self._open(raw, name, arguments)
        late_name = name if name and not call.name else None
        call.name = call.name or name
        if not arguments and late_name is None:
            return None
        call.arguments.append(arguments)
        return _chunk(call.place, name=late_name, args=arguments)

    def close(self) -> list[ToolCallChunk]:
        """Return what makes unusable arguments count as such.

        LangChain repairs cut JSON when it folds chunks, so that a call cut at max_tokens would be run with
        half of its arguments. A bracket that closes nothing keeps it from that: the call folds to an invalid
        one, as it does when the reply comes whole.
        """
        return [
            _chunk(call.place, args=stop)
            for call in self._calls
            if (stop := _unrepairable_end("".join(call.arguments)))
        ]

    def _known(self, raw: Mapping[str, Any]) -> _Call | None:
        """Return the call that a delta goes on with, None when it begins one."""
        index, given = raw.get("index"), raw.get("id") or ""
        if not isinstance(index, int):
            same = (call for call in self._calls if given and call.given_id == given)
            last = self._calls[-1] if self._calls and not given and not _function(raw)[0] else None
            return next(same, last)
        call = self._by_index.get(index)
        if call is not None and given and call.given_id and given != call.given_id:
            return None
        return call

    def _open(self, raw: Mapping[str, Any], name: str, arguments: str) -> ToolCallChunk:
        place = len(self._calls)
        call = _Call(place, str(raw.get("id") or ""), name, [arguments])
        self._calls.append(call)
        if isinstance(index := raw.get("index"), int):
            self._by_index[index] = call
        call_id = _own_id(raw.get("id"), self._taken, place, self._new_id)
        return _chunk(place, name=name, args=arguments, call_id=call_id)


def _chunk(place: int, *, name: str | None = None, args: str, call_id: str | None = None) -> ToolCallChunk:
    return ToolCallChunk(
        name=name, args=args, id=call_id, index=FIRST_CALL_INDEX + place, type="tool_call_chunk"
    )


def _function(call: Mapping[str, Any]) -> tuple[str, str]:
    """Return a call's name and arguments; some servers send the arguments as an object."""
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return str(function.get("name") or ""), arguments or ""


def _own_id(given: object, taken: set[str], place: int, new_id: NewCallId) -> str:
    call_id = str(given or "")
    if not call_id or call_id in taken:
        call_id = new_id(place)
    taken.add(call_id)
    return call_id


def _unrepairable_end(arguments: str) -> str:
    """Return what to append so that no lenient parser takes these arguments; "" when they are whole."""
    try:
        arguments_of(arguments)
    except ValueError:
        pass
    else:
        return ""
    in_string = escaped = False
    open_brackets: list[str] = []
    for char in arguments:
        if in_string:
            in_string = char != '"' or escaped
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "{[":
            open_brackets.append("}" if char == "{" else "]")
        elif char in "}]" and (not open_brackets or open_brackets.pop() != char):
            return ""
    end = ("\\" if escaped else "") + '"' if in_string else ""
    return end + ("}" if open_brackets[-1:] == ["]"] else "]")
