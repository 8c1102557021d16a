"""Grammars (`llguidance`, Lark syntax) of whole outputs: JSON, regular expressions, tool calls.

How a family writes its calls is a `CallSyntax`; everything else is the same for all. Text is matched as
bytes, whether the vocabulary has a token for a marker in it or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from local_backend.errors import RequestError

__all__ = [
    "CallSyntax",
    "alternatives",
    "arguments_rule",
    "arguments_schema",
    "further",
    "json_rule",
    "output_grammar",
]

# The spacing of the chat templates, hence of the training data. A small model that may write any blanks can
# write them for ever.
_TIGHT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

_THINKING = r"""thinking[lazy]: /(.|\n)*<\/think>/
gap: /\n{0,2}/
"""


# In one answer. More than these is a model that repeats itself, up to its longest answer.
MOST_CALLS = 64
MOST_FORCED_CALLS = 8


class CallSyntax(Protocol):
    """How a family writes tool calls; tools are as in a request, `{"type": "function", "function": …}`."""

    def calls(self, tools: list[dict[str, Any]], most: int) -> str:
        """Return the rules that define `calls`: one call or more but no more than `most`, nothing else."""

    def text_or_calls(self, tools: list[dict[str, Any]]) -> str:
        """Return the rules that define `answer`: text, or calls after text; those of `calls` are there."""


def output_grammar(
    kind: str, schema: str, syntax: CallSyntax, *, reasoning: bool, json_answer: bool = False
) -> str:
    """Return the grammar of an output.

    Args:
        kind: `json`, `regex`, `tool_call` (text or calls) or `tool_call_required` (calls only).
        schema: A JSON schema (or nothing for any object), a regular expression, or a JSON array of tools.
        syntax: How calls are written.
        reasoning: The output begins inside the reasoning, which is free.
        json_answer: With `tool_call`: an answer without calls is a JSON object.

    Raises:
        RequestError: The schema, the expression or a strict tool's schema cannot be enforced.
    """
    rules = _answer(kind, schema, syntax, json_answer)
    if problem := _problem(_grammar(f"answer\n{rules}")):
        raise RequestError(
            f"The output constraint cannot be enforced: {problem}",
            help_message="Simplify the JSON schema or the regular expression.",
        )
    start = f"start: thinking gap answer\n{_THINKING}" if reasoning else "start: answer\n"
    return f"%llguidance {{}}\n{start}{rules}"


def alternatives(rule: str, tools: list[dict[str, Any]]) -> str:
    """Return `rule_0 | rule_1 | …`, one for each tool."""
    return " | ".join(f"{rule}_{index}" for index in range(len(tools)))


def further(rule: str, most: int) -> str:
    """Return what may follow the first of at most `most` calls; the grammar's engine takes no {0,0}."""
    return f"({rule}){{0,{most - 1}}}" if most > 1 else ""


def arguments_rule(function: Mapping[str, Any]) -> str:
    """Return the right side of a rule for the arguments of a function, as one JSON object."""
    schema = arguments_schema(function.get("parameters"))
    return json_rule(schema, exact=bool(function.get("strict")))


def arguments_schema(parameters: object) -> dict[str, Any]:
    """Return the schema of a function's arguments.

    They are an object; a schema that lists its properties means these and no others.
    """
    if not isinstance(parameters, dict) or not parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    schema = {"type": "object", **parameters}
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def json_rule(schema: object, *, exact: bool) -> str:
    """Return the right side of a rule for a JSON value.

    Args:
        schema: A JSON schema.
        exact: Enforce it, come what may. Otherwise it only informs and must not fail the request: as much
            of it is enforced as can be.
    """
    strict, lenient = _json(schema, _TIGHT), _json(schema, {**_TIGHT, "lenient": True})
    if exact or not _problem(_grammar(strict)):
        return strict
    if not _problem(_grammar(lenient)):
        return lenient
    is_object = isinstance(schema, dict) and schema.get("type") == "object"
    return _json({"type": "object"} if is_object else {}, _TIGHT)


def _answer(kind: str, schema: str, syntax: CallSyntax, json_answer: bool) -> str:
    if kind == "json":
        return f"answer: {_json(json.loads(schema) if schema else {'type': 'object'}, _TIGHT)}\n"
    if kind == "regex":
        return f"answer: /{_slashes_escaped(schema)}/\n"
    if kind not in ("tool_call", "tool_call_required"):
        raise RequestError(
            f"Output constraint {kind!r} is not supported",
            help_message="Use JSON mode, a JSON schema, a regular expression or tools.",
        )
    tools = json.loads(schema)
    if kind == "tool_call_required":
        # A small model that is made to call goes on calling: with one tool, one call is what was forced.
        return f"answer: calls\n{syntax.calls(tools, 1 if len(tools) == 1 else MOST_FORCED_CALLS)}"
    calls = syntax.calls(tools, MOST_CALLS)
    if json_answer:
        return f"answer: {_json({'type': 'object'}, _TIGHT)} | calls\n{calls}"
    return syntax.text_or_calls(tools) + calls


def _grammar(body: str) -> str:
    return f"%llguidance {{}}\nstart: {body}\n"


def _json(schema: Any, options: Mapping[str, Any]) -> str:
    if isinstance(schema, dict):
        schema = {**schema, "x-guidance": options}
    return f"%json {json.dumps(schema)}"


def _slashes_escaped(pattern: str) -> str:
    """Lark delimits expressions by slashes and keeps them on one line."""
    escaped = re.sub(r"\\.|/", lambda match: "\\/" if match[0] == "/" else match[0], pattern, flags=re.DOTALL)
    return escaped.replace("\n", "\\n").replace("\r", "\\r")


def _problem(grammar: str) -> str:
    from llguidance import LLMatcher  # noqa: PLC0415  (only constrained requests load it)

    is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    return str(messages[0]).strip() if is_error else ""
