"""Grammars (`llguidance`, Lark syntax) for Hermes-style output: JSON, regular expressions, tool calls.

Everything is matched as bytes of text. That holds for `<tool_call>` whether the vocabulary has a token for it
or not, as long as that token's bytes are its spelling (`Tokenizer.token_bytes` sees to it).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from local_backend.errors import RequestError

__all__ = ["hermes_grammar"]

# A model that may write any blanks can write them for ever: one line break with indentation, or one space.
_LOOSE = {"whitespace_pattern": r"(\n[ \t]{0,64}|[ ]?)"}
# Exactly the spacing of the chat templates, hence of the training data.
_TIGHT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

_THINKING = r"""thinking[lazy]: /(.|\n)*<\/think>/
gap: /\n{0,2}/
"""
_CALLS = r"""calls: "<tool_call>" call_list
call_list: call ("\n<tool_call>" call)*
call: "\n" ({alternatives}) "\n</tool_call>"
{rules}"""
_TEXT_OR_CALLS = r"""answer: TEXT | opening call_list
opening[lazy]: TEXT "<tool_call>"
TEXT: /(.|\n)*/
"""


def hermes_grammar(kind: str, schema: str, *, reasoning: bool, json_answer: bool = False) -> str:
    """Return the grammar of an output.

    Args:
        kind: `json`, `regex`, `tool_call` (text or calls) or `tool_call_required` (calls only).
        schema: A JSON schema (or nothing for any object), a regular expression, or a JSON array of tools.
        reasoning: The output begins inside the reasoning, which is free.
        json_answer: With `tool_call`: an answer without calls is a JSON object.

    Raises:
        RequestError: The schema, the expression or a strict tool's schema cannot be enforced.
    """
    rules = _answer(kind, schema, json_answer)
    start = f"start: thinking gap answer\n{_THINKING}" if reasoning else "start: answer\n"
    return f"%llguidance {{}}\n{start}{rules}"


def _grammar(body: str) -> str:
    return f"%llguidance {{}}\nstart: {body}\n"


def _answer(kind: str, schema: str, json_answer: bool) -> str:
    if kind == "json":
        rules = f"answer: {_json(json.loads(schema) if schema else {'type': 'object'}, _LOOSE)}\n"
    elif kind == "regex":
        rules = f"answer: /{_slashes_escaped(schema)}/\n"
    elif kind == "tool_call_required":
        rules = "answer: calls\n" + _calls(json.loads(schema))
    elif kind == "tool_call" and json_answer:
        rules = f"answer: {_json({'type': 'object'}, _LOOSE)} | calls\n" + _calls(json.loads(schema))
    elif kind == "tool_call":
        rules = _TEXT_OR_CALLS + _calls(json.loads(schema))
    else:
        raise RequestError(
            f"Output constraint {kind!r} is not supported",
            help_message="Use JSON mode, a JSON schema, a regular expression or tools.",
        )
    if problem := _problem(_grammar(f"answer\n{rules}")):
        raise RequestError(
            f"The output constraint cannot be enforced: {problem}",
            help_message="Simplify the JSON schema or the regular expression.",
        )
    return rules


def _calls(tools: list[Mapping[str, Any]]) -> str:
    functions = [tool["function"] for tool in tools]
    bodies = (_body(function) for function in functions)
    rules = "".join(f"call_{index}: {body}\n" for index, body in enumerate(bodies))
    alternatives = " | ".join(f"call_{index}" for index in range(len(functions)))
    return _CALLS.format(alternatives=alternatives, rules=rules)


def _body(function: Mapping[str, Any]) -> str:
    """One alternative: the name is fixed, the arguments follow the function's schema."""
    head = json.dumps(f'{{"name": {json.dumps(function["name"])}, "arguments": ')
    arguments = _json(_arguments_schema(function.get("parameters")), _TIGHT)
    if not function.get("strict") and _problem(_grammar(arguments)):
        # A schema that only informs must not fail the request: enforce what can be enforced of it.
        arguments = _json(_arguments_schema(function.get("parameters")), {**_TIGHT, "lenient": True})
        if _problem(_grammar(arguments)):
            arguments = _json({"type": "object"}, _TIGHT)
    return f'{head} {arguments} "}}"'


def _arguments_schema(parameters: object) -> dict[str, Any]:
    """Arguments are an object; a schema that lists its properties means these and no others."""
    if not isinstance(parameters, dict) or not parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    schema = {"type": "object", **parameters}
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


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
