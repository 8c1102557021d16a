r"""Tool markup that models write, whole blocks of it: what it looks like, and the calls it says.

Two kinds: DSML (V3.2 and later) and the marker form of V2.5 to V3.1. Servers parse both before they answer;
what reaches a client is damaged or was missed, so bars, blanks, the block's name and closing tags are read
leniently. Finding blocks in a stream is `wire.dsml`'s part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from deepseek_apps.wire.text import json_text

__all__ = [
    "CLOSE",
    "LONGEST_TAG",
    "START",
    "FoundCall",
    "calls_in",
    "may_become_start",
    "self_closed_end",
    "spoken_after",
]

_BARS = "[|｜‖∥]{1,2}"
_DSML = rf"{_BARS}[ ]?DSML[ ]?{_BARS}[ ]{{0,2}}"
_GAP = "[_▁ ]"
_BLOCK = rf"(?:(?:function|tool){_GAP}calls|calls)"

# A start decides at the character after its word, which must be there: nothing that follows can change it.
START = re.compile(
    rf"<(?:{_DSML}(?:(?P<block>{_BLOCK})|(?P<invoke>invoke))(?=[\s>/])"
    rf"|(?P<stray>/){_DSML}{_BLOCK}\s?>"
    rf"|(?P<marker>{_BARS}tool{_GAP}calls?{_GAP}begin{_BARS}>))"
)
_INVOKE_END = re.compile(rf"</{_DSML}invoke\s{{0,2}}>")
# What ends a block that began with the group of this name. None of them is longer than LONGEST_TAG.
CLOSE = {
    "block": re.compile(rf"</{_DSML}{_BLOCK}\s{{0,2}}>"),
    "invoke": _INVOKE_END,
    "marker": re.compile(rf"<{_BARS}tool{_GAP}calls{_GAP}end{_BARS}>"),
}
LONGEST_TAG = 48
_STARTS = (
    "<|dsml|functioncalls", "<|dsml|toolcalls", "<|dsml|calls", "<|dsml|invoke",
    "</|dsml|functioncalls>", "</|dsml|toolcalls>", "</|dsml|calls>",
    "<|toolcallsbegin|>", "<|toolcallbegin|>",
)  # fmt: skip
_FIRST = re.compile(r"</?(?:[|｜‖∥]|\Z)")  # what tells markup from `a < b` and `</div>` at once
_PLAIN = str.maketrans({"｜": "|", "‖": "|", "∥": "|", "_": "", "▁": "", " ": "", "\n": "", "\t": ""})

_INVOKE = re.compile(rf"""<{_DSML}invoke\s+name\s*=\s*["']([^"'>]*)["']\s*(/?)>""")
_PARAMETER = re.compile(
    rf"""<{_DSML}parameter\s+name\s*=\s*["']([^"'>]*)["'](?:\s+string\s*=\s*["'](true|false)["'])?\s*>"""
)
_PARAMETER_END = re.compile(rf"</{_DSML}parameter\s*>|(?=<{_DSML}parameter\s)")
_CLOSING_TAG = re.compile(rf"</{_DSML}\w*\s?>\Z")
_HALF_TAG = re.compile(r"</?[|｜‖∥][^<>]*\Z")
_CALL = re.compile(rf"<{_BARS}tool{_GAP}call{_GAP}begin{_BARS}>")
_CALL_END = re.compile(rf"<{_BARS}tool{_GAP}calls?{_GAP}end{_BARS}>")
_SEPARATOR = re.compile(rf"<{_BARS}tool{_GAP}sep{_BARS}>")
_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*(?:```)?\Z", re.DOTALL)


class FoundCall(NamedTuple):
    """A call that markup says: the tool's name, and its arguments as JSON text, broken where cut."""

    name: str
    arguments: str


def may_become_start(text: str) -> bool:
    """Return whether text that begins with "<" could, with more text, match START."""
    if len(text) > LONGEST_TAG or _FIRST.match(text) is None:
        return False
    plain = re.sub(r"\|+", "|", text.translate(_PLAIN)).lower()
    return any(start.startswith(plain) for start in _STARTS)


def self_closed_end(block: str) -> int | None:
    """Return where a block ends that is one self-closing invoke tag."""
    match = _INVOKE.match(block.lstrip("\n"))
    return len(block) - len(block.lstrip("\n")) + match.end() if match and match.group(2) else None


def spoken_after(block: str) -> int:
    """Return where ordinary text goes on in a block that was never closed: after its last closed call."""
    closed = [match.end() for match in _INVOKE_END.finditer(block)]
    if not closed or _HALF_TAG.sub("", block[closed[-1] :]).strip() == "" or "<" in block[closed[-1] :]:
        return len(block)
    return closed[-1]


def calls_in(block: str, *, cut: bool = False) -> list[FoundCall] | None:
    """Return the calls of one block of markup, None when it is not understood.

    Args:
        block: From a match of START to its end, which may be the end of the reply.
        cut: Whether the reply was cut off inside the block, at max_tokens. A last call that is not closed
            then has arguments that are no JSON, so that nobody runs it.
    """
    if _CALL.search(block):
        return _marker_calls(block)
    opened = list(_INVOKE.finditer(block))
    calls: list[FoundCall] = []
    for match, stop in _with_ends(opened, block):
        closed = bool(match.group(2)) or match is not opened[-1]
        call = _invoked(match.group(1), block[match.end() : stop], whole=closed or not cut)
        if call is None:
            return None
        calls.append(call)
    return calls or None


def _invoked(name: str, body: str, *, whole: bool) -> FoundCall | None:
    """Return the call of one invoke tag: parameters, a bare JSON object, or nothing."""
    if end := _INVOKE_END.search(body):
        body, whole = body[: end.start()], True
    opened = list(_PARAMETER.finditer(body))
    if not opened:
        rest = _without_tags(body).strip()
        if rest and not _is_object(rest):
            return None if whole else FoundCall(name, rest)
        return FoundCall(name, rest or ("{}" if whole else "{"))
    arguments: dict[str, Any] = {}
    for match, following in _with_ends(opened, body):
        ended = _PARAMETER_END.search(body, match.end())
        value = body[match.end() : ended.start()] if ended else _without_tags(body[match.end() : following])
        arguments[match.group(1)] = _value(value, match.group(2))
    text = json_text(arguments)
    return FoundCall(name, text if whole else text[:-1])


def _without_tags(text: str) -> str:
    """Return text without the closing tags, and the half one, that stand at its end."""
    text = _HALF_TAG.sub("", text)
    while match := _CLOSING_TAG.search(text.rstrip(), max(0, len(text.rstrip()) - LONGEST_TAG)):
        text = text[: match.start()].rstrip("\n")
    return text


def _with_ends(opened: list[re.Match[str]], text: str) -> Iterator[tuple[re.Match[str], int]]:
    """Yield each opening tag and where what it opens ends at the latest: at the next one."""
    return zip(opened, [*(match.start() for match in opened[1:]), len(text)], strict=False)


def _value(text: str, is_string: str | None) -> Any:
    """Return one argument: the raw text of a string, else the JSON value it is, else the text after all."""
    if is_string == "true":
        return text
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text


def _marker_calls(block: str) -> list[FoundCall] | None:
    """Read `function<sep>NAME` with fenced JSON (V2.5, V3, R1) and `NAME<sep>JSON` (V3.1)."""
    calls = []
    for part in _CALL.split(block)[1:]:
        halves = _SEPARATOR.split(_CALL_END.split(part)[0], maxsplit=1)
        if len(halves) == 1:
            return None
        name, arguments = halves
        if name.strip() == "function":
            name, _, arguments = arguments.partition("\n")
        if not name.strip():
            return None
        calls.append(FoundCall(name.strip(), _FENCE.sub(r"\1", arguments.strip())))
    return calls


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False
