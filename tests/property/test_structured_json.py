"""JSON out of answers: introductions, fences, cuts, and growth."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.structured.json_text import find_json, partial_object
from deepseek_apps.structured.send import closed

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)


@given(OBJECTS, st.sampled_from(["", "Here it is, {friend}:\n", "  \n"]), st.booleans(), st.booleans())
def test_an_object_is_found_whatever_is_around_it(value: Any, before: str, fenced: bool, after: bool) -> None:
    text = json.dumps(value, ensure_ascii=False)
    text = f"```json\n{text}\n```" if fenced else text
    assert find_json(before + text + ("\nGood luck!" if after else "")) == value


@given(OBJECTS.filter(bool), st.data())
def test_a_cut_object_is_never_taken_for_a_whole_one(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    with pytest.raises(ValueError, match=r"."):
        find_json(cut)


@given(OBJECTS, st.data())
def test_a_growing_object_ends_as_the_whole_one(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = data.draw(st.integers(1, len(text)))
    partial = partial_object(f"Sure: {text[:cut]}")
    assert partial is not None
    assert partial.keys() <= value.keys()
    assert partial_object(f"Sure: {text}") == value


@pytest.mark.parametrize("text", ["", "no", "[1", "NaN", '{"a": NaN}', "use {name}", "```json\n{\n```"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        find_json(text)


def test_raw_line_breaks_in_strings_pass() -> None:
    assert find_json('{"a": "one\ntwo"}') == {"a": "one\ntwo"}


def test_before_an_object_begins_there_is_nothing() -> None:
    assert partial_object("Sure") is partial_object("") is None


def test_objects_are_closed_unless_they_say_otherwise() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {"x": inner, "y": {**inner, "additionalProperties": True}, "z": {"type": "object"}},
        "$defs": {"D": inner, "E": {"allOf": [inner], **inner}},
    }
    shut = closed(schema)
    assert shut["additionalProperties"] is shut["properties"]["x"]["additionalProperties"] is False
    assert shut["$defs"]["D"]["additionalProperties"] is False
    assert shut["properties"]["y"]["additionalProperties"] is True
    assert "additionalProperties" not in shut["properties"]["z"]
    assert (
        shut["$defs"]["E"] == {"allOf": [inner], **closed(inner)}
        or "additionalProperties" not in shut["$defs"]["E"]
    )
    assert "additionalProperties" not in inner
