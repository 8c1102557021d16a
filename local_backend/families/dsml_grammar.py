"""Grammars (`llguidance`, Lark syntax) for DSML output: calls as blocks of named parameters.

A string is written as it stands and ends with its closing tag; any other value is JSON. A string that a
strict tool restricts (pattern, format, length) is written as JSON too, where such a restriction can be
enforced. Parameters come in the order of the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from local_backend.families.dsml_calls import CallDialect
from local_backend.families.output_grammar import alternatives, arguments_schema, json_rule, output_grammar

__all__ = ["dsml_grammar"]

_TEXT_OR_CALLS = r"""answer: TEXT | opening call_list
opening[lazy]: TEXT {opening}
TEXT: /(.|\n)*/
"""
_TEXT_VALUE = r"""text_value[lazy]: /(.|\n)*<\/{parameter}>/
"""
_RESTRICTIONS = ("pattern", "format", "minLength", "maxLength")
# What a property's schema may refer to.
_CONTAINERS = ("$defs", "$def", "definitions")
_LONGEST_CHAIN = 8  # of references; a schema may go in circles


def dsml_grammar(
    kind: str,
    schema: str,
    dialect: CallDialect,
    *,
    reasoning: bool,
    json_answer: bool = False,
    opened: bool = False,
) -> str:
    """Return the grammar of an output; see `families.output_grammar.output_grammar`.

    Args:
        kind: What is constrained.
        schema: A schema, an expression or the tools, by kind.
        dialect: How calls are spelled.
        reasoning: The output begins inside the reasoning.
        json_answer: With `tool_call`: an answer without calls is a JSON object.
        opened: The prompt has opened a block of calls.

    Raises:
        RequestError: The schema, the expression or a strict tool's schema cannot be enforced.
    """
    syntax = _Syntax(dialect, opened)
    return output_grammar(kind, schema, syntax, reasoning=reasoning, json_answer=json_answer)


class _Syntax:
    """How one dialect writes calls; implements `output_grammar.CallSyntax`."""

    def __init__(self, dialect: CallDialect, opened: bool) -> None:
        self._dialect = dialect
        self._opening = f"{dialect.open(dialect.block)}>\n"
        self._opened = opened

    def text_or_calls(self, tools: list[dict[str, Any]]) -> str:  # noqa: ARG002  (all tools look alike)
        return _TEXT_OR_CALLS.format(opening=_literal(self._opening))

    def calls(self, tools: list[dict[str, Any]], most: int) -> str:
        dialect = self._dialect
        # The blank line before a block may have been taken for the one after the reasoning.
        opening = "" if self._opened else f"/\\n{{0,2}}/ {_literal(self._opening)} "
        calls = f"({alternatives('call', tools)}){{1,{most}}}"
        rules = [
            f"calls: {opening}call_list\n",
            f"call_list: {calls} {_literal(dialect.close(dialect.block))}\n",
            _TEXT_VALUE.format(parameter=dialect.close("parameter")[2:-1]),
        ]
        for index, tool in enumerate(tools):
            function = tool["function"]
            head = _literal(f'{dialect.open("invoke")} name="{function["name"]}">\n')
            parameters = " ".join(self._parameters(function))
            rules.append(f"call_{index}: {head} {parameters} {_literal(dialect.close('invoke'))} /\\n/\n")
        return "".join(rules)

    def _parameters(self, function: Mapping[str, Any]) -> Iterator[str]:
        schema = arguments_schema(function.get("parameters"))
        strict = bool(function.get("strict"))
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        required = required if isinstance(required, list) else []
        containers = {name: schema[name] for name in _CONTAINERS if name in schema}
        for name, value in properties.items():
            optional = "" if name in required else "?"
            merged = {**containers, **value} if isinstance(value, dict) else value
            yield f"({self._parameter(_literal(name)[1:-1], merged, strict)}){optional}"
        if "properties" not in schema or schema.get("additionalProperties"):
            yield f"({self._parameter(None, {}, strict)})*"

    def _parameter(self, name: str | None, schema: object, strict: bool) -> str:
        """One parameter: its name (as in a literal; None for any name) and its value."""
        head = f'"{self._dialect.open("parameter")} name=\\"'
        key = f'{head}{name}\\" string=\\"' if name is not None else f'{head}" /[^"<>\\n]+/ "\\" string=\\"'
        end = _literal(self._dialect.close("parameter"))
        forms = []
        for form in _forms(schema, strict):
            if form == "text":
                forms.append(f'{key}true\\">" text_value "\\n"')
            elif form == "json":
                forms.append(f'{key}false\\">" {json_rule(schema, exact=strict)} {end} "\\n"')
            else:
                forms.append(f'{key}true\\">" ({form}) {end} "\\n"')
        return " | ".join(forms)


def _forms(schema: object, strict: bool) -> list[str]:
    """How a value of this schema may be written: as "text", as "json", or as one of given literals."""
    if not isinstance(schema, dict):
        return ["text", "json"]
    schema = _resolved(schema)
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(choices, list) and choices:
        texts = [choice for choice in choices if isinstance(choice, str)]
        literals = " | ".join(_literal(text) for text in texts)
        return [literals] if len(texts) == len(choices) else [*filter(None, [literals]), "json"]
    kinds = schema.get("type")
    if kinds == "string":
        return ["json"] if strict and any(name in schema for name in _RESTRICTIONS) else ["text"]
    if isinstance(kinds, str) or (isinstance(kinds, list) and "string" not in kinds):
        return ["json"]
    # A union, or no type at all: exactly what the schema says, or else text as well.
    return ["json"] if strict else ["text", "json"]


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references to the schema's own containers."""
    for _ in range(_LONGEST_CHAIN):
        path = schema.get("$ref")
        if not isinstance(path, str) or not path.startswith("#/"):
            break
        container, _, name = path.removeprefix("#/").partition("/")
        named = schema.get(container)
        found = named.get(name) if isinstance(named, dict) else None
        if not isinstance(found, dict):
            break
        schema = {**{key: schema[key] for key in _CONTAINERS if key in schema}, **found}
    return schema


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
