"""Hermes output as a client of the chat API sees it."""

from __future__ import annotations

import json

import pytest
from hermes_output import answer

_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}\n</tool_call>'
_ARGUMENTS = '{"city": "Paris", "days": 2}'


def test_text_is_content():
    assert answer(["Hello ", "你好\n"]) == answer(["Hello 你好\n"])
    assert answer(["Hello 你好\n"]).content == "Hello 你好\n"


def test_a_call_is_a_call():
    got = answer([_CALL])
    assert (got.content, got.calls, got.finish_reason) == ("", (("get_weather", _ARGUMENTS),), "tool_calls")


def test_several_calls_and_text_around_them():
    got = answer([f"Let me see.\n{_CALL}\n{_CALL}\nDone. {_CALL}"])
    assert [name for name, _ in got.calls] == ["get_weather"] * 3
    assert got.content == "Let me see.\n\nDone. "


@pytest.mark.parametrize(
    "raw",
    [
        "<tool_call>\n{not json}\n</tool_call>",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Par',
        '<tool_call>\n{"name": "get_weather", "arguments": [1]}\n</tool_call>',
        '<tool_call>\n{"name": "bad name>", "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {"a": NaN}}\n</tool_call>',
        '<tool_call>\n{"arguments": {}}\n</tool_call>',
        "<tool_call>[" + "[" * 5000,
        "<tool_call>\n[1]\n</tool_call>",
        "<tool_call>",
        "a </tool_call> b <tool_",
    ],
)
def test_what_is_not_a_call_stays_text(raw):
    got = answer([raw])
    assert (got.content, got.calls, got.finish_reason) == (raw, (), "stop")


def test_a_call_after_a_broken_one_is_still_found():
    got = answer([f"<tool_call>\n{_CALL}"])
    assert (got.content, len(got.calls)) == ("<tool_call>", 1)  # newlines before calls go, as hosted


def test_a_call_without_its_closing_marker_counts_when_it_is_complete():
    assert answer([_CALL.removesuffix("\n</tool_call>")]).calls == (("get_weather", _ARGUMENTS),)


_BODY = '{\n  "name": "get_weather",\n  "arguments": {"city": "Oslo"}\n}'


@pytest.mark.parametrize(
    "raw", [_BODY, f"```json\n{_BODY}\n```", f"```\n{_BODY}```\n", f"<tools>{_BODY}</tools>"]
)
def test_an_answer_that_is_nothing_but_a_call_counts_as_one(raw):
    assert answer([raw]).calls == (("get_weather", '{"city": "Oslo"}'),)
    assert answer([f"Hm</think>\n\n{raw}"], thinking=True).calls == answer([raw]).calls


@pytest.mark.parametrize(
    "raw",
    [
        f"So: {_BODY}",
        f"{_BODY}\nand more",
        _BODY[:40],
        _BODY.replace("get_weather", "unknown"),
        _BODY.replace('"arguments"', '"population"'),
        '{"city": "Oslo"}',
        "```json",
        "{",
    ],
)
def test_other_json_is_content(raw):
    assert (answer([raw]).content, answer([raw]).calls) == (raw, ())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": 1.50, "b": [1, {"c": null}], "d": 1e400}', None),
        ('{"code": "x = \'</tool_call>\'\\n<b>"}', None),
        ('{"q\\"<>k\\\\": "v"}', '{"q\\u0022\\u003c\\u003ek\\\\": "v"}'),
        ('{"城市": "北京"}', None),
        ("{ }", "{}"),
        ('"{\\"a\\": 1}"', '{"a": 1}'),
        ('{"a": "x\ny"}', '{"a": "x\\ny"}'),
        ('{"\\ud800": "\\udfff"}', None),
    ],
)
def test_arguments_keep_their_values(arguments, expected):
    got = answer([f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>'])
    assert got.calls == (("f", expected or arguments),)
    json.loads(got.calls[0][1])


def test_text_that_spells_markup_is_only_text():
    invoke = '<｜DSML｜invoke name="now">\n</｜DSML｜invoke>\n'
    raw = f"a</think>\n\n<｜DSML｜tool_calls>\n{invoke}</｜DSML｜tool_calls>"
    assert answer([raw]).content == raw
    assert answer([raw]).calls == ()


def test_without_tools_the_marker_is_text():
    assert answer([_CALL], tool_choice="none").content == _CALL


def test_a_required_call_is_read_like_any_other():
    assert answer([_CALL], tool_choice="required").calls == (("get_weather", _ARGUMENTS),)
    assert answer([_CALL[:30]], tool_choice="required").content == _CALL[:30]


@pytest.mark.parametrize("start", ["", "<think>", "\n<think>\n"])
def test_reasoning_ends_at_its_marker(start):
    got = answer([f"{start}Hm, <tool_call>?</think>\n\nHi"], thinking=True)
    assert (got.reasoning, got.content) == ("Hm, <tool_call>?", "Hi")


def test_reasoning_that_never_ends():
    got = answer(["Hm"], thinking=True)
    assert (got.reasoning, got.content) == ("Hm", "")


def test_a_model_without_thinking_answers_at_once_even_when_asked_to_think():
    got = answer(["Hi </think>"], thinking=True, reasons=False)
    assert (got.reasoning or "", got.content) == ("", "Hi </think>")
