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

# The spacing of the chat templates, hence of the training data. A small model that may write any blanks can
# write them for ever.
_TIGHT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

_THINKING = r"""thinking[lazy]: /(.|\n)*<\/think>/
gap: /\n{0,2}/
"""
_CALLS = r"""calls: "<tool_call>" call_list
call_list: call ("\n<tool_call>" call)*
call: "\n" ({calls}) "\n</tool_call>"
"""
# The second line: a call whose marker was forgotten, as HermesNormaliser recognises it.
_TEXT_OR_CALLS = r"""answer: TEXT | opening call_list | unmarked
unmarked: ({unmarked}) /\n?\}}(\n?(```|<\/tools>))?/
opening[lazy]: TEXT "<tool_call>"
TEXT: /(.|\n)*/
"""
_UNMARKED = r"""unmarked_{index}: begin_{index} /,[ \n]{{0,8}}"arguments": ?/ arguments_{index}
begin_{index}[lazy]: /(```(json)?\n|<tools>\n?)?\{{[ \n]{{0,8}}"name": ?"{name}"/
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
        rules = f"answer: {_json(json.loads(schema) if schema else {'type': 'object'}, _TIGHT)}\n"
    elif kind == "regex":
        rules = f"answer: /{_slashes_escaped(schema)}/\n"
    elif kind == "tool_call_required":
        rules = "answer: calls\n" + _calls(json.loads(schema))
    elif kind == "tool_call" and json_answer:
        rules = f"answer: {_json({'type': 'object'}, _TIGHT)} | calls\n" + _calls(json.loads(schema))
    elif kind == "tool_call":
        tools = json.loads(schema)
        rules = _text_or_calls(tools) + _calls(tools)
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


def _alternatives(rule: str, tools: list[Any]) -> str:
    return " | ".join(f"{rule}_{index}" for index in range(len(tools)))


def _text_or_calls(tools: list[Mapping[str, Any]]) -> str:
    names = (tool["function"]["name"] for tool in tools)
    unmarked = (_UNMARKED.format(index=index, name=name) for index, name in enumerate(names))
    return _TEXT_OR_CALLS.format(unmarked=_alternatives("unmarked", tools)) + "".join(unmarked)


def _calls(tools: list[Mapping[str, Any]]) -> str:
    rules = [_CALLS.format(calls=_alternatives("call", tools))]
    for index, tool in enumerate(tools):
        head = json.dumps(f'{{"name": "{tool["function"]["name"]}", "arguments": ')
        rules.append(f'call_{index}: {head} arguments_{index} "}}"\n')
        rules.append(f"arguments_{index}: {_arguments(tool['function'])}\n")
    return "".join(rules)


def _arguments(function: Mapping[str, Any]) -> str:
    """A schema that only informs must not fail the request: as much of it is enforced as can be."""
    schema = _arguments_schema(function.get("parameters"))
    exact, lenient = _json(schema, _TIGHT), _json(schema, {**_TIGHT, "lenient": True})
    if function.get("strict") or not _problem(_grammar(exact)):
        return exact
    return _json({"type": "object"}, _TIGHT) if _problem(_grammar(lenient)) else lenient


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
