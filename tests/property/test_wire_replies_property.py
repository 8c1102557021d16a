"""Any way of cutting a reply into events folds to the message of the whole reply."""

from __future__ import annotations

import json
from functools import reduce
from itertools import pairwise
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk

from deepseek_apps.wire import ChunkReader, message_of

_TEXT = st.text("ab<>{}\n世🙂 ", max_size=12)
_DSML = '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="g">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>'
_WHOLE = ["", "{}", '{"a": 1}', '{"城": "北京", "b": [1, {"c": null}]}', '{"a": "x\ny"}']
_BROKEN = ['{"a": "b', '{"a": foo}', '{"a": [1', '{"a": "\\', "[1]", "null", "}", "nonsense", '"x"']
_ARGUMENTS = st.sampled_from([*_WHOLE, *_BROKEN])
_CALLS = st.lists(st.tuples(st.sampled_from("fg"), _ARGUMENTS), max_size=3)
_USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "prompt_cache_hit_tokens": 4}


@st.composite
def _pieces(draw, text):
    cuts = sorted({*draw(st.lists(st.integers(0, len(text)), max_size=4)), 0, len(text)})
    return [text[a:b] for a, b in pairwise(cuts)] or [text]


@st.composite
def replies(draw):
    """A whole body, and events that say the same."""
    reasoning, content = draw(_TEXT), draw(_TEXT) + draw(st.sampled_from(["", "", _DSML]))
    calls = [] if _DSML in content else draw(_CALLS)
    ids = draw(st.sampled_from(["given", "missing", "repeated"]))
    name = draw(st.sampled_from(["reasoning_content", "reasoning"]))
    reason = draw(st.sampled_from(["stop", "length", "tool_calls"]))
    frame = {"id": "r1", "model": "m", "system_fingerprint": "fp"}
    raw = [
        {"index": n, "id": _id(ids, n), "type": "function", "function": {"name": f, "arguments": a}}
        for n, (f, a) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": content or None, name: reasoning, "tool_calls": raw or None}
    body = {**frame, "choices": [{"message": message, "finish_reason": reason}], "usage": _USAGE}
    deltas = [{"role": "assistant", "content": None, name: ""}]
    deltas += [{"content": None, name: piece} for piece in draw(_pieces(reasoning))]
    deltas += [{"content": piece, name: None} for piece in draw(_pieces(content))]
    for call in raw:
        first, *rest = draw(_pieces(call["function"]["arguments"]))
        repeated = {"id": call["id"], "name": call["function"]["name"]} if ids == "repeated" else {}
        deltas.append({"tool_calls": [{**call, "function": {**call["function"], "arguments": first}}]})
        deltas += [{"tool_calls": [_later(call, piece, repeated)]} for piece in rest]
    return body, _events(frame, deltas, reason, trailing=draw(st.booleans()))


def _id(kind, place):
    return {"given": f"c{place}", "missing": None, "repeated": f"c{place}"}[kind]


def _later(call, piece, repeated):
    function = {"arguments": piece} | ({"name": repeated["name"]} if repeated else {})
    return {"index": call["index"], "function": function} | ({"id": repeated["id"]} if repeated else {})


def _events(frame, deltas, reason, *, trailing):
    events = [
        {**frame, "choices": [{"index": 0, "delta": d, "finish_reason": None}], "usage": None} for d in deltas
    ]
    end = {**frame, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": reason}]}
    if trailing:
        return [*events, end, {**frame, "choices": [], "usage": _USAGE}]
    return [*events, {**end, "usage": _USAGE}]


def _chunks(events):
    reader = ChunkReader(tools_declared=True, new_id=lambda place: f"new{place}")
    return [chunk for event in events for chunk in reader.read(event)] + reader.finish()


def _comparable(message):
    """What must agree. A broken call's text ends in a bracket when it was streamed: see CallDeltas.close."""
    broken = [(c["name"], c["id"], c["args"].rstrip('"]}\\')) for c in message.invalid_tool_calls]
    fields = (message.content, message.additional_kwargs, message.response_metadata, message.usage_metadata)
    return *fields, message.tool_calls, broken


@settings(deadline=None, max_examples=200)
@given(replies())
def test_folded_events_equal_the_whole_reply(reply) -> None:
    body, events = reply
    chunks = _chunks(events)
    folded = reduce(add, [*chunks, AIMessageChunk(content="", chunk_position="last")])
    whole = message_of(body, tools_declared=True, new_id=lambda place: f"new{place}")
    assert _comparable(folded) == _comparable(whole)
    assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1
    assert not any(chunk.content and chunk.tool_call_chunks for chunk in chunks)


@settings(deadline=None, max_examples=200)
@given(st.text('{}[]"\\:, a1\n', max_size=12))
def test_arguments_are_a_json_object_or_invalid(arguments) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}
    chunks = _chunks([{"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "length"}]}])
    folded = reduce(add, chunks)
    if not arguments:
        return
    try:
        expected = json.loads(arguments, strict=False)
    except ValueError:
        expected = None
    valid = [expected] if isinstance(expected, dict) else []
    assert [one["args"] for one in folded.tool_calls] == valid
    assert len(folded.invalid_tool_calls) == 1 - len(valid)


@pytest.mark.parametrize("finish", [None, "stop"])
def test_an_empty_stream_ends(finish) -> None:
    events = [{"choices": []}, {"choices": None}, {"choices": [{"delta": None, "finish_reason": finish}]}, {}]
    assert reduce(add, _chunks(events)).content == ""
