"""Usage is found in a stream however it is cut, and never in what the model only talks about."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.routing._usage_reader import BodyReader, StreamReader

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 3}
TEXTS = st.lists(
    st.text(max_size=20)
    | st.sampled_from(['"usage":{"prompt_tokens":1}', "data: [DONE]\n\n", '\ndata: {"error": 1}', '"error"']),
    max_size=6,
)


def event(delta: dict[str, Any], usage: dict[str, int] | None = None, **more: object) -> bytes:
    body = {"model": "m", "choices": [{"delta": delta, **more}], "usage": usage}
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def chat_stream(texts: list[str]) -> bytes:
    events = [b": keep-alive\n\n", *(event({"content": text}) for text in texts)]
    return b"".join((*events, event({}, USAGE, finish_reason="stop"), b"data: [DONE]\n\n"))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def read(data: bytes, cuts: list[int]) -> StreamReader:
    reader = StreamReader()
    for piece in pieces(data, cuts):
        reader.feed(piece)
    reader.finish()
    return reader


@given(TEXTS, st.lists(st.integers(0, 10_000), max_size=12))
def test_cuts_change_nothing(texts: list[str], cuts: list[int]) -> None:
    reader = read(chat_stream(texts), cuts)
    assert (reader.usage, reader.model) == (USAGE, "m")
    assert (reader.complete, reader.failed) == (True, False)
    assert reader.events >= len(texts) + 2


@given(TEXTS, st.lists(st.integers(0, 10_000), max_size=12))
def test_talk_of_usage_is_not_usage(texts: list[str], cuts: list[int]) -> None:
    reader = read(b"".join(event({"content": text}) for text in texts), cuts)
    assert (reader.usage, reader.complete, reader.failed) == ({}, False, False)


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_the_other_dialects_say_it_in_two_places(cuts: list[int]) -> None:
    messages = (
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"m",'
        b'"usage":{"input_tokens":6,"cache_read_input_tokens":3,"output_tokens":0}}}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":2}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    reader = read(messages, cuts)
    assert reader.usage == {"input_tokens": 6, "cache_read_input_tokens": 3, "output_tokens": 2}
    assert (reader.model, reader.complete) == ("m", True)
    responses = (
        b'event: response.created\ndata: {"type":"response.created","response":{"usage":null}}\n\n'
        b'event: response.completed\ndata: {"type":"response.completed","response":{"model":"m",'
        b'"usage":{"input_tokens":6,"output_tokens":2}}}\n\n'
    )
    assert read(responses, cuts).usage == {"input_tokens": 6, "output_tokens": 2}


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=4))
def test_garbage_is_no_usage_and_no_crash(data: bytes, cuts: list[int]) -> None:
    whole = BodyReader()
    for piece in pieces(data, cuts):
        whole.feed(piece)
    whole.finish()
    assert whole.usage == read(data, cuts).usage == {}
