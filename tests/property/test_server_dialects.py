"""Translation loses no message, touches no input, and does not depend on where a stream is cut."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from deepseek_apps.backends._from_server import EventTranslator, from_server
from deepseek_apps.backends._server_request import UnsupportedRequestError
from deepseek_apps.backends._to_server import to_server
from deepseek_apps.catalog.servers import ServerFlavor, server_flavor, servers

texts = st.text(max_size=12)
calls = st.fixed_dictionaries(
    {
        "id": texts,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": texts, "arguments": texts}),
    }
)
messages = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": texts}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": texts | st.none()},
        optional={
            "reasoning_content": texts,
            "tool_calls": st.lists(calls, max_size=2),
            "prefix": st.booleans(),
        },
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": texts, "content": texts}),
)
bodies = st.fixed_dictionaries(
    {"model": texts, "messages": st.lists(messages, max_size=5)},
    optional={
        "thinking": st.sampled_from([None, {"type": "enabled"}, {"type": "disabled"}]),
        "reasoning_effort": st.sampled_from([None, "none", "low", "max"]),
        "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "function"}]),
        "response_format": st.sampled_from([{"type": "json_object"}, {"type": "text"}]),
        "tools": st.just([{"type": "function", "function": {"name": "f", "strict": True}}]),
        "user_id": texts,
        "stream": st.booleans(),
    },
)
flavors = st.sampled_from(servers().servers)


@given(bodies, flavors)
def test_no_message_is_lost(body: dict[str, Any], flavor: ServerFlavor) -> None:
    before = copy.deepcopy(body)
    try:
        sent = to_server(body, flavor).body
    except UnsupportedRequestError:
        assert body["messages"][-1]["prefix"]
        return
    assert body == before
    assert [_said(message) for message in sent["messages"]] == [
        _said(message) for message in body["messages"]
    ]
    assert {"model", "stream"} & sent.keys() == {"model", "stream"} & body.keys()
    json.dumps(sent)


def _said(message: dict[str, Any]) -> tuple[object, ...]:
    reasoning = message.get("reasoning_content", message.get("reasoning"))
    return message["role"], message["content"] or "", message.get("tool_calls") or [], reasoning


@given(bodies, flavors)
@example(
    {"model": "", "messages": [], "thinking": {"type": "enabled"}, "reasoning_effort": None},
    server_flavor("llama-cpp"),
)
@example(
    {"model": "", "messages": [], "thinking": {"type": "enabled"}, "reasoning_effort": "none"},
    server_flavor("llama-cpp"),
)
def test_a_translated_body_needs_no_translation(body: dict[str, Any], flavor: ServerFlavor) -> None:
    try:
        once = to_server(body, flavor).body
    except UnsupportedRequestError:
        return
    # ollama hears of thinking by the effort alone, which says the same when it is read again.
    assert to_server(once, flavor).body == once


deltas = st.one_of(
    st.fixed_dictionaries({"content": texts}),
    st.fixed_dictionaries({"reasoning": texts | st.none(), "content": st.none()}),
    st.fixed_dictionaries(
        {"tool_calls": st.lists(calls.map(lambda call: {"index": 0} | call), min_size=1, max_size=1)}
    ),
)


def _event(delta: dict[str, Any], end: bytes) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode(errors="replace") + end


@given(
    st.lists(deltas, max_size=6),
    st.sampled_from([b"\n\n", b"\r\n\r\n"]),
    st.lists(st.integers(min_value=0, max_value=2000), max_size=8),
)
def test_where_a_stream_is_cut_changes_nothing(
    parts: list[dict[str, Any]], end: bytes, cuts: list[int]
) -> None:
    last = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}' + end
    stream = b"".join([b": keep-alive" + end, *(_event(part, end) for part in parts), last])
    bounds = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(bounds)]
    assert _translated(pieces) == _translated([stream])
    assert b'"reasoning"' not in _translated([stream])


def _translated(pieces: list[bytes]) -> bytes:
    translator = EventTranslator()
    return b"".join([*map(translator.feed, pieces), translator.finish()])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["choices", "message", "usage", "delta", "tool_calls"]), inner)
        ),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, dict))
)
def test_no_answer_is_too_strange_to_pass(body: Any) -> None:
    from_server(body)
    translator = EventTranslator()
    translator.feed(b"data: " + json.dumps(body | {"reasoning": 1}).encode() + b"\n\n")
