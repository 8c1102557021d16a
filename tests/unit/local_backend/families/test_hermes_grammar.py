"""Grammars, run by the engine's own constraint over a byte vocabulary: what may be written."""

from __future__ import annotations

import json
import re

import pytest
from conversations import NOW, WEATHER, convert
from toy_gguf import CHATML, R1, toy_assets

from local_backend.engine.constraint import GrammarCompiler, VocabularyBytes
from local_backend.errors import RequestError
from local_backend.families.hermes_grammar import hermes_grammar
from local_backend.families.registry import family_for
from local_backend.families.tokenizer import Tokenizer

_WEATHER = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>'
_NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_assets(toy_assets())


@pytest.fixture(scope="module")
def accepts(tokenizer):
    """Whether a text is a whole output: each of its tokens allowed, and an end allowed after it."""

    def vocabulary() -> VocabularyBytes:
        return VocabularyBytes(
            token_bytes=[tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)],
            special_tokens=tokenizer.special_tokens,
            eos_token_ids=tokenizer.eos_token_ids,
            encode=lambda raw: tokenizer.encode_plain(raw.decode(errors="replace")),
        )

    compiler = GrammarCompiler(vocabulary)

    def check(grammar: str, text: str) -> bool:
        markers = [m.span() for m in re.finditer("</?tool_call>", text)]
        verdicts = set()
        for ranges in ([], markers):  # markers as plain text, and as tokens of their own
            constraint = compiler.compile(grammar)
            try:
                for token_id in [*tokenizer.encode(text, ranges), tokenizer.eos_token_ids[0]]:
                    constraint.advance(token_id)
                verdicts.add(True)
            except RequestError:
                verdicts.add(False)
        (verdict,) = verdicts
        return verdict

    return check


def _grammar(tokenizer, template=CHATML, thinking=False, **fields):
    family = family_for(toy_assets(template), tokenizer)
    request = convert(thinking=thinking, **fields)
    return family.grammar(request.conversation, request.inference_options.output_constraint)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"a": [1, "世"]}', True),
        ('{\n  "a": 1\n}', False),  # blanks are where small models get lost
        ("```json\n{}\n```", False),
        ("[1]", False),
        ('{"a":     1}', False),
        ('{"a": 1', False),
    ],
)
def test_json_mode_is_one_object(text, verdict, tokenizer, accepts):
    assert accepts(_grammar(tokenizer, response_format={"type": "json_object"}), text) is verdict


@pytest.mark.parametrize(("text", "verdict"), [('{"a": 1}', True), ('{"a": "x"}', False), ("{}", False)])
def test_json_schema(text, verdict, tokenizer, accepts):
    fields = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": _SCHEMA}}}
    assert accepts(_grammar(tokenizer, **fields), text) is verdict


@pytest.mark.parametrize(
    ("text", "required", "auto"),
    [
        (_WEATHER, True, True),
        (f"{_NOW}\n{_WEATHER}", True, True),
        ("Plain text < with { marks", False, True),
        (f"Let me see.\n{_NOW}", False, True),
        (f"{_NOW} and more", False, False),
        ('<tool_call>\n{"name": "other", "arguments": {}}\n</tool_call>', False, False),
        (_WEATHER.replace("3", '"3"'), False, False),
        (_WEATHER.replace('"city": "Oslo", ', ""), False, False),
        (_WEATHER.replace("days", "unknown"), False, False),
        ("<tool_call>\n{", False, False),
        ('```json\n{\n  "name": "now",\n  "arguments": {}\n}\n```', False, True),
        ('{"name": "now", "arguments": {"x": 1}}', False, False),
        ('{"name": "nobody", "arguments": {"x": 1}}', False, True),
    ],
)
def test_tool_calls(text, required, auto, tokenizer, accepts):
    tools = [WEATHER, NOW]
    assert accepts(_grammar(tokenizer, tools=tools, tool_choice="required"), text) is required
    assert accepts(_grammar(tokenizer, tools=tools), text) is auto


def test_a_named_function_is_the_only_one(tokenizer, accepts):
    choice = {"type": "function", "function": {"name": "now"}}
    grammar = _grammar(tokenizer, tools=[WEATHER, NOW], tool_choice=choice)
    assert accepts(grammar, _NOW)
    assert not accepts(grammar, _WEATHER)


def test_tools_in_json_mode_answer_in_json(tokenizer, accepts):
    grammar = _grammar(tokenizer, tools=[NOW], response_format={"type": "json_object"})
    assert [accepts(grammar, text) for text in ('{"a": 1}', _NOW, "text")] == [True, True, False]


def test_references_inside_a_tool_schema(accepts):
    parameters = {
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/N"}},
        "$defs": {"N": {"type": "integer"}},
    }
    tools = json.dumps([{"type": "function", "function": {"name": "now", "parameters": parameters}}])
    grammar = hermes_grammar("tool_call_required", tools, reasoning=False)
    assert accepts(grammar, _NOW.replace("{}", '{"n": 1}'))
    assert not accepts(grammar, _NOW.replace("{}", '{"n": "x"}'))


@pytest.mark.parametrize(
    "schema", [{"not": {"type": "null"}}, {"type": "object", "properties": 7}, {"$ref": "x"}]
)
def test_a_tool_schema_that_cannot_be_enforced(schema, accepts):
    function = {"name": "now", "parameters": schema}
    tools = [{"type": "function", "function": function}]
    grammar = hermes_grammar("tool_call", json.dumps(tools), reasoning=False)
    assert accepts(grammar, _NOW)
    function["strict"] = True
    with pytest.raises(RequestError, match="cannot be enforced"):
        hermes_grammar("tool_call", json.dumps(tools), reasoning=False)


@pytest.mark.parametrize(
    ("pattern", "text", "verdict"),
    [
        ("[a-z]+/[0-9]+", "ab/12", True),
        (r"a\/b", "a/b", True),
        ("a\nb", "a\nb", True),
        ("[a-z]+", "A", False),
        ("[a-z]+/[0-9]+", "ab/", False),
    ],
)
def test_regular_expressions(pattern, text, verdict, accepts):
    assert accepts(hermes_grammar("regex", pattern, reasoning=False), text) is verdict


@pytest.mark.parametrize(
    ("kind", "schema"), [("regex", "[a-"), ("json", '{"type": "nonsense"}'), ("xml", "")]
)
def test_constraints_that_cannot_be_enforced_are_refused(kind, schema):
    with pytest.raises(RequestError, match="constraint") as caught:
        hermes_grammar(kind, schema, reasoning=False)
    assert caught.value.help_message


def test_reasoning_is_free_and_comes_first(tokenizer, accepts):
    fields = {"response_format": {"type": "json_object"}, "thinking": True}
    grammar = _grammar(tokenizer, R1, **fields)
    assert accepts(grammar, 'Hm {"x\n</think>\n\n{"a": 1}')
    assert not accepts(grammar, '{"a": 1}')
    assert not accepts(grammar, "Hm</think>\n\nno")
