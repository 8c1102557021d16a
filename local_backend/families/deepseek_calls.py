"""Tool calls between token markers, as V2.5, V3 and R1 write them, and as V3.1 does.

Which of the two a model writes is its `MarkerSyntax`. `parse_call` reads both, with a code
fence or without.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deepseek_recipe import ToolCall

from local_backend.families.hermes_calls import Call, json_members
from local_backend.families.output_grammar import alternatives, arguments_rule, further
from local_backend.families.prompt_writer import PromptWriter
from local_backend.families.tokenizer import Tokenizer

__all__ = [
    "BARE_CALLS",
    "CALLS_BEGIN",
    "CALLS_END",
    "CALL_BEGIN",
    "CALL_END",
    "FENCED_CALLS",
    "SEPARATOR",
    "MarkerGrammar",
    "MarkerSyntax",
    "parse_call",
]

CALLS_BEGIN, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL_BEGIN, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
SEPARATOR = "<｜tool▁sep｜>"

_MARKERS = re.compile("(" + "|".join((CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEPARATOR)) + ")")
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_V3_TYPE = "function"
# The call's beginning is found in text wherever it is; what follows is fixed.
_TEXT_OR_CALLS = rf"""answer: TEXT | opening call_list
opening[lazy]: TEXT "{CALLS_BEGIN}"
TEXT: /(.|\n)*/
"""


@dataclass(frozen=True, slots=True)
class MarkerSyntax:
    """How a model writes calls: all between `CALLS_BEGIN` and `CALLS_END`, each between its own two markers.

    Attributes:
        before_name: From the call's marker to the name.
        before_arguments: From the name to the arguments, which are a JSON object.
        after_arguments: From the arguments to the call's end marker.
        between_calls: From one call's end marker to the next one's beginning.
    """

    before_name: str
    before_arguments: str
    after_arguments: str
    between_calls: str

    def write(self, calls: Iterable[ToolCall], writer: PromptWriter) -> None:
        """Write the calls of a message in the history."""
        writer.markup(CALLS_BEGIN)
        for index, call in enumerate(calls):
            between = self.between_calls if index else ""
            writer.markup(f"{between}{CALL_BEGIN}{self.before_name}").text(call.name)
            writer.markup(self.before_arguments).text(_arguments(call))
            writer.markup(f"{self.after_arguments}{CALL_END}")
        writer.markup(CALLS_END)


FENCED_CALLS = MarkerSyntax(f"{_V3_TYPE}{SEPARATOR}", "\n```json\n", "\n```", "\n")
BARE_CALLS = MarkerSyntax("", SEPARATOR, "", "")


class MarkerGrammar:
    """The grammar of such calls; implements `output_grammar.CallSyntax`.

    Args:
        syntax: How the model writes calls.
        tokenizer: Markers that its vocabulary has must be written as those tokens, not letter by letter.
    """

    def __init__(self, syntax: MarkerSyntax, tokenizer: Tokenizer) -> None:
        self._syntax = syntax
        self._tokenizer = tokenizer

    def calls(self, tools: list[dict[str, Any]], most: int) -> str:
        """Return the rules that define `calls`."""
        syntax, terms = self._syntax, self._terms
        call = f"{terms(CALL_BEGIN + syntax.before_name)} ({alternatives('call', tools)})"
        more = further(f"{terms(syntax.between_calls)} call", most)
        rules = [
            f"calls: {terms(CALLS_BEGIN)} call_list\n",
            f"call_list: call {more} {terms(CALLS_END)}\n",
            f"call: {call} {terms(syntax.after_arguments + CALL_END)}\n",
        ]
        for index, tool in enumerate(tools):
            function = tool["function"]
            head = terms(function["name"] + syntax.before_arguments)
            rules.append(f"call_{index}: {head} arguments_{index}\n")
            rules.append(f"arguments_{index}: {arguments_rule(function)}\n")
        return "".join(rules)

    def text_or_calls(self, tools: list[dict[str, Any]]) -> str:  # noqa: ARG002 - the protocol's
        """Return the rules that define `answer`."""
        return _TEXT_OR_CALLS

    def _terms(self, text: str) -> str:
        """Text as a sequence of Lark terms."""
        return " ".join(self._term(piece) for piece in _MARKERS.split(text) if piece)

    def _term(self, piece: str) -> str:
        token_id = self._tokenizer.token_id(piece) if _MARKERS.fullmatch(piece) else None
        return json.dumps(piece, ensure_ascii=False) if token_id is None else f"<[{token_id}]>"


def parse_call(body: str) -> Call | None:
    """Return the call that the text between a call's two markers is; None when it is not one."""
    name, found, arguments = (part.strip() for part in body.partition(SEPARATOR))
    named = _NAME.match(arguments)
    if name == _V3_TYPE and named:
        name, arguments = named[0], arguments[named.end() :].strip()
    if arguments.startswith("```"):
        arguments = arguments.removeprefix("```").removeprefix("json").rstrip("`")
    members = json_members(arguments)
    return (name, members) if found and _NAME.fullmatch(name) and members is not None else None


def _arguments(call: ToolCall) -> str:
    """The arguments as they were sent; what is not a JSON object becomes one argument, as with DeepSeek."""
    if json_members(call.arguments) is not None:
        return call.arguments
    return json.dumps({"arguments": call.arguments}, ensure_ascii=False)
