"""Read Hermes-style output: `<tool_call>` blocks with a JSON body, after an optional `</think>`.

What is not exactly a call stays text: a malformed or truncated block is never lost and never half shown.
Small models often forget the markers: an answer that is nothing but a call's JSON, of a function that was
declared, counts as a call too.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from deepseek_recipe import ParsingOptions

from local_backend.families.dsml import DSMLMarkup
from local_backend.families.hermes_calls import (
    WRAPPINGS,
    Call,
    inside_string,
    parse_call,
    parse_unmarked_call,
)
from local_backend.families.stop_strings import held_suffix

__all__ = ["CALL_END", "CALL_START", "THINK_END", "THINK_START", "HermesNormaliser"]

CALL_START, CALL_END = "<tool_call>", "</tool_call>"
THINK_START, THINK_END = "<think>", "</think>"


class _Stage(Enum):
    REASONING_START = auto()
    REASONING = auto()
    CONTENT_START = auto()
    UNMARKED_CALL = auto()
    CONTENT = auto()
    AFTER_CALL = auto()
    CALL = auto()


class HermesNormaliser:
    """Rewrites one output as DeepSeek markup; see `families.base.Normaliser`.

    Content streams through at once. Calls are written together at the end, because the stream processor
    drops whatever follows them.

    Args:
        reasoning: The output begins inside the reasoning.
        tools: Names of the functions that may be called; without any, `<tool_call>` is text like any other.
    """

    def __init__(self, *, reasoning: bool, tools: Iterable[str]) -> None:
        self._markup = DSMLMarkup()
        self._reasoning = reasoning
        self._tools = frozenset(tools)
        self._markers = (CALL_START,) if self._tools else ()
        self._stage = _Stage.REASONING_START if reasoning else _Stage.CONTENT_START
        self._buffer = ""
        self._scanned = 0
        self._out: list[str] = []
        self._calls: list[Call] = []

    def adapt(self, options: ParsingOptions) -> ParsingOptions:
        """Name the markers, and say that the output holds whole blocks; changes options in place."""
        options.special_tokens = self._markup.special_tokens
        options.starts_in_tool_calls = False
        if not self._reasoning and _starts_in_reasoning(options):
            options.thinking_initial_stage = None
        return options

    def push(self, text: str) -> str:
        """Take raw output; return the markup that is certain so far."""
        self._buffer += text
        return self._drain(final=False)

    def finish(self) -> str:
        """Return the rest of the markup."""
        rest = self._drain(final=True)
        return rest + self._markup.tool_calls(self._calls) if self._calls else rest

    def _drain(self, *, final: bool) -> str:
        steps = {
            _Stage.REASONING_START: self._step_reasoning_start,
            _Stage.REASONING: self._step_reasoning,
            _Stage.CONTENT_START: self._step_content_start,
            _Stage.UNMARKED_CALL: self._step_unmarked_call,
            _Stage.CONTENT: self._step_content,
            _Stage.AFTER_CALL: self._step_after_call,
            _Stage.CALL: self._step_call,
        }
        while steps[self._stage](final):
            pass
        shown = "".join(self._out)
        self._out.clear()
        return shown

    def _step_reasoning_start(self, final: bool) -> bool:
        """The prompt has opened the reasoning; some models open it once more."""
        text = self._buffer.lstrip("\n")
        if not final and len(text) < len(THINK_START) and THINK_START.startswith(text):
            return False
        self._buffer = text.removeprefix(THINK_START)
        self._stage = _Stage.REASONING
        return True

    def _step_reasoning(self, final: bool) -> bool:
        found = self._take_until((THINK_END,), final)
        if found:
            self._out.append(self._markup.thinking_end)
            self._stage = _Stage.CONTENT_START
        return found

    def _step_content_start(self, final: bool) -> bool:
        """Hold the answer back while it may turn out to be a call without its marker."""
        begun = "".join(self._buffer.split())
        expected = [f'{opening}{{"name":"{name}"' for opening in WRAPPINGS for name in self._tools]
        if not final and any(text.startswith(begun) for text in expected):
            return False
        unmarked = any(begun.startswith(text) for text in expected)
        self._stage = _Stage.UNMARKED_CALL if unmarked else _Stage.CONTENT
        return True

    def _step_unmarked_call(self, final: bool) -> bool:
        if not final:
            return False
        call = parse_unmarked_call(self._buffer)
        if call is not None and call[0] in self._tools:
            self._calls.append(call)
            self._buffer = ""
        self._stage = _Stage.CONTENT
        return True

    def _step_content(self, final: bool) -> bool:
        found = self._take_until(self._markers, final)
        if found:
            self._stage, self._scanned = _Stage.CALL, 0
        return found

    def _step_after_call(self, final: bool) -> bool:
        """Blanks between calls, and after the last one, mean nothing."""
        text = self._buffer.lstrip()
        if not text:
            return False
        if text.startswith(CALL_START):
            self._buffer = text
        elif CALL_START.startswith(text) and not final:
            return False
        self._stage = _Stage.CONTENT
        return True

    def _step_call(self, final: bool) -> bool:
        end = self._buffer.find(CALL_END, self._scanned)
        if end < 0 and not final:
            self._scanned = max(self._scanned, len(self._buffer) - len(CALL_END) + 1)
            return False
        body = self._buffer[:end] if end >= 0 else self._buffer
        call = parse_call(body)
        if call is not None:
            self._calls.append(call)
            self._buffer = self._buffer[len(body) + len(CALL_END) :]
            self._stage = _Stage.AFTER_CALL
        elif end >= 0 and inside_string(body):
            self._scanned = end + len(CALL_END)  # the marker is part of an argument
        else:
            self._out.append(CALL_START)  # not a call: its beginning is text, and the rest is read anew
            self._stage = _Stage.CONTENT
        return True

    def _take_until(self, markers: tuple[str, ...], final: bool) -> bool:
        """Show the text before the marker, and drop the marker; False when it is not there (yet)."""
        for marker in markers:
            before, found, after = self._buffer.partition(marker)
            if found:
                self._out.append(before)
                self._buffer = after
                return True
        shown = len(self._buffer) - (0 if final else held_suffix(self._buffer, markers))
        self._out.append(self._buffer[:shown])
        self._buffer = self._buffer[shown:]
        return False


def _starts_in_reasoning(options: ParsingOptions) -> bool:
    stage = options.thinking_initial_stage
    return stage is not None and bool(stage.starts_in_reasoning())
