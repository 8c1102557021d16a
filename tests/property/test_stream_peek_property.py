"""Reading the first events of a stream: the verdict does not depend on where the bytes are cut."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_apps.routing.facts import parse_body, read_facts
from deepseek_apps.routing.faults import MOST_HELD_BYTES, StreamPeek, body_fault

GAVE_UP = "insufficient_system_resource"


def event(delta: dict[str, object], finish_reason: str | None = None) -> bytes:
    choice = {"delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode()


WAITING = [
    b": keep-alive\n\n",
    b"\r\n",
    b"\n",
    event({"role": "assistant", "content": ""}),
    event({"content": None}),
]
ANSWERS = [
    event({"content": "你好"}),
    event({"reasoning_content": "x"}),
    event({}, "stop"),
    b"data: [DONE]\n\n",
]
FAULTS = [event({}, GAVE_UP), b'data: {"error": {"message": "no", "type": "server_error"}}\n\n']


def read(data: bytes, cuts: list[int]) -> tuple[bool, str]:
    peek = StreamPeek()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        if data[start:end] and peek.feed(data[start:end]) == "pass":
            return True, peek.fault
    return False, peek.fault


@given(
    st.lists(st.sampled_from(WAITING), max_size=6),
    st.sampled_from([*ANSWERS, *FAULTS]),
    st.lists(st.integers(0, 5000)),
)
def test_cuts_change_nothing(before: list[bytes], last: bytes, cuts: list[int]) -> None:
    passed, fault = read(b"".join([*before, last]), cuts)
    assert passed
    assert bool(fault) == (last in FAULTS)


@given(st.lists(st.sampled_from(WAITING), max_size=6), st.lists(st.integers(0, 5000)))
def test_waiting_is_not_an_answer(before: list[bytes], cuts: list[int]) -> None:
    assert read(b"".join(before), cuts) == (False, "")


def test_a_wait_is_not_held_back_without_end() -> None:
    peek = StreamPeek()
    assert peek.feed(b": keep-alive\n\n" * (MOST_HELD_BYTES // 14 + 1)) == "pass"
    assert peek.fault == ""


@given(st.binary(max_size=300))
def test_any_bytes_are_judged_without_failing(data: bytes) -> None:
    StreamPeek().feed(data)
    body_fault(data)
    read_facts("POST", "/v1/chat/completions", parse_body(data))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "type", "x"]), inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from(["model", "messages", "prompt", "tools", "max_tokens", "thinking"]), JSON)
)
def test_any_body_has_facts(body: dict[str, object]) -> None:
    facts = read_facts("POST", "/chat/completions", body)
    assert facts.prompt_tokens >= 0


@pytest.mark.parametrize(
    ("text", "least", "most"), [("word " * 1000, 1000, 2000), ("深度求索" * 250, 400, 800)]
)
def test_estimates_have_the_right_size(text: str, least: int, most: int) -> None:
    body = {"messages": [{"role": "user", "content": text}]}
    assert least <= read_facts("POST", "/chat/completions", body).prompt_tokens <= most
