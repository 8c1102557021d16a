"""Server-sent events: comments and blank lines are skipped, cut and foreign streams are named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.errors import UnreachableError
from deepseek_apps.event_stream import read_events

OBJECTS = st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=3), max_size=5)


@given(OBJECTS, st.lists(st.sampled_from(["", ": keep-alive", "event: x", "id: 1", "retry: 5"]), max_size=6))
def test_every_object_arrives_once_in_order(objects, noise) -> None:
    lines = [line for value in objects for line in (*noise, f"data: {json.dumps(value)}")]
    assert list(read_events([*lines, "data: [DONE]", "data: {}"])) == objects


def test_the_blank_after_the_colon_is_optional() -> None:
    assert list(read_events(['data:{"a": 1}', "data:[DONE]"])) == [{"a": 1}]


@pytest.mark.parametrize("line", ["data: <html>", "data: [1]", "data: 7"])
def test_what_is_not_an_object_is_named(line) -> None:
    with pytest.raises(UnreachableError, match=r"not a JSON object"):
        list(read_events([line]))


def test_a_stream_without_its_end_keeps_what_came_and_says_so() -> None:
    events = read_events(['data: {"a": 1}'])
    assert next(events) == {"a": 1}
    with pytest.raises(UnreachableError, match=r"without \[DONE\]"):
        next(events)
