"""Blocks of tool markup, with the damage seen in the wild."""

from __future__ import annotations

import json
import time

import pytest

from deepseek_apps.wire.dsml import MarkupReader
from deepseek_apps.wire.dsml_blocks import calls_in

OPEN = "<｜DSML｜tool_calls>\n"
UNCLOSED = '<｜DSML｜invoke name="f"><｜DSML｜parameter name="k" string="true">'
V3 = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"


def invoke(body, name="f"):
    return f'<｜DSML｜invoke name="{name}">{body}</｜DSML｜invoke>'


def parameter(value, name="k", string="true"):
    return f'<｜DSML｜parameter name="{name}" string="{string}">{value}</｜DSML｜parameter>'


def only(block, **options):
    ((name, arguments),) = calls_in(block, **options) or ()
    return name, json.loads(arguments)


@pytest.mark.parametrize(
    ("block", "arguments"),
    [
        (OPEN + invoke(parameter("v")), {"k": "v"}),
        (OPEN + invoke(parameter("[1, null]", string="false")), {"k": [1, None]}),
        (OPEN + invoke(parameter("not json", string="false")), {"k": "not json"}),
        (OPEN + invoke(""), {}),
        (OPEN + '<｜DSML｜invoke name="f"/>', {}),
        (OPEN + invoke('\n{"k": {"x": 1}}\n'), {"k": {"x": 1}}),
        (OPEN + invoke('<｜DSML｜parameter name="k">7</｜DSML｜parameter>'), {"k": 7}),
        (OPEN + invoke('<｜DSML｜parameter name="k" string="true">v'), {"k": "v"}),
        (OPEN + UNCLOSED + 'v\n</｜DSML｜tool_calls>', {"k": "v"}),
        (OPEN.replace("｜", "｜｜") + invoke(parameter("v")).replace("｜", "｜｜"), {"k": "v"}),
        (V3.format('f<｜tool▁sep｜>{"k": "v"}'), {"k": "v"}),
        (V3.format('function<｜tool▁sep｜>f\n```json\n{"k": "v"}\n```'), {"k": "v"}),
        (V3.format("f<｜tool▁sep｜>{}").replace("▁", "_").replace("｜", "|"), {}),
    ],
)  # fmt: skip
def test_calls(block, arguments) -> None:
    assert only(block) == ("f", arguments)


@pytest.mark.parametrize("block", [OPEN, OPEN + "hello", OPEN + invoke("hello"), V3.format("no separator")])
def test_what_is_no_call_is_not_understood(block) -> None:
    assert calls_in(block) is None


def test_several_calls() -> None:
    block = OPEN + invoke(parameter("1"), "f") + "\n" + invoke(parameter("2"), "g")
    assert [call.name for call in calls_in(block) or ()] == ["f", "g"]


@pytest.mark.parametrize("cut_at", ["k", "string", "v</", "</｜DSML｜par", "</｜DSML｜inv"])
def test_a_call_cut_at_max_tokens_has_arguments_nobody_runs(cut_at) -> None:
    block = OPEN + invoke(parameter("first"), "g") + invoke(parameter("v"))
    calls = calls_in(block[: block.rindex(cut_at) + 1], cut=True) or []
    assert json.loads(calls[0].arguments) == {"k": "first"}
    for call in calls[1:]:
        with pytest.raises(json.JSONDecodeError):
            json.loads(call.arguments)


def test_prose_after_an_unclosed_block_is_kept() -> None:
    reader = MarkupReader()
    _, calls = reader.push(OPEN + invoke(parameter("v")) + "\n\nI will wait.")
    text, more = reader.finish(cut=False)
    assert (calls, len(more), text) == ([], 1, "\n\nI will wait.")


def test_markup_that_cannot_be_read_comes_out_as_it_was() -> None:
    reader = MarkupReader()
    text = "See:\n\n" + OPEN + "gibberish</｜DSML｜tool_calls> ok"
    assert reader.push(text)[0] + reader.finish(cut=False)[0] == text


@pytest.mark.parametrize("text", ["<｜" * 3000, OPEN + "<｜DSML｜" * 2000, OPEN + invoke(" \n" * 5000 + "<")])
def test_hostile_text_takes_no_time(text) -> None:
    reader, start = MarkupReader(), time.perf_counter()
    for at in range(0, len(text), 7):
        reader.push(text[at : at + 7])
    reader.finish(cut=True)
    assert time.perf_counter() - start < 2
