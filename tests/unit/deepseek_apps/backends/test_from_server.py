"""What servers answer, in the hosted dialect. Bodies hand-written from the sources named in servers.toml."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deepseek_apps.backends._from_server import (
    EventTranslator,
    error_from_server,
    from_server,
    reply_from_server,
)
from deepseek_apps.catalog.servers import server_flavor

VLLM_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "4", "function_call": None, "reasoning": "2+2"},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 20,
        "total_tokens": 25,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 16},
    },
}


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    body = {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return f"data: {json.dumps(body)}\n\n".encode()


def deltas(stream: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ") and b"[DONE]" not in line]
    return [json.loads(line)["choices"][0]["delta"] for line in lines]


def translate(*chunks: bytes) -> bytes:
    translator = EventTranslator()
    return b"".join([*map(translator.feed, chunks), translator.finish()])


def test_reasoning_and_cache_hits_have_the_hosted_names() -> None:
    body = from_server(json.loads(json.dumps(VLLM_ANSWER)))
    message = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    assert body["choices"][0]["message"] == message
    assert body["usage"]["prompt_cache_hit_tokens"] == 16
    assert body["usage"]["prompt_cache_miss_tokens"] == 4


def test_reasoning_tokens_of_sglang_are_details() -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 9, "reasoning_tokens": 7, "prompt_tokens_details": None}
    body = from_server({"choices": [], "usage": usage})
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 7}
    assert "prompt_cache_hit_tokens" not in body["usage"]


@pytest.mark.parametrize("content", [b'{"choices": []}', b"not json", b'["reasoning"]', b""])
def test_what_needs_nothing_stays_byte_for_byte(content: bytes) -> None:
    assert reply_from_server(200, content, None) == (200, content)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "model 'x' not found"}, "model 'x' not found"),
        ({"object": "error", "message": "too long", "type": "BadRequest", "code": 400}, "too long"),
        ({"detail": "Unexpected fields in the request: {'x'}"}, "Unexpected fields in the request: {'x'}"),
        ({"detail": [{"loc": ["body", "n"], "msg": "not an int", "type": "t"}]}, "body.n: not an int"),
        ({"error": {"message": "no", "type": "NotFoundError", "param": "model", "code": 404}}, "no"),
        ({"message": "short"}, "short"),
        ({"strange": 1}, '{"strange": 1}'),
        ({"error": {"message": {"deep": 1}}}, '{"error": {"message": {"deep": 1}}}'),
    ],
)
def test_errors_of_every_shape_get_the_hosted_envelope(body: dict[str, Any], message: str) -> None:
    error = error_from_server(body)["error"]
    assert error["message"] == message
    assert error.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "text",
    [
        "You passed 98305 input tokens and requested 32768 output tokens. However, the model's context "
        "length is only 131072 tokens, resulting in a maximum input length of 98304 tokens.",
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        "request (4476 tokens) exceeds the available context size (4096 tokens)",
        "The decoder prompt (length 8825) is longer than the maximum model length of 8192.",
    ],
)
def test_a_context_that_is_too_small_is_said_the_hosted_way(text: str) -> None:
    error = error_from_server({"error": {"message": text, "code": 400}})["error"]
    assert error["message"].startswith("The maximum context length is exceeded: ")
    assert error["code"] == "context_length_exceeded"


def test_a_fault_of_the_request_is_no_failure_of_the_server() -> None:
    body = {"error": {"message": "1 validation error:\n …", "type": "internal_server_error", "code": None}}
    content = json.dumps(body).encode()
    status, translated = reply_from_server(500, content, server_flavor("llama-cpp-python"))
    assert (status, json.loads(translated)["error"]["type"]) == (400, "invalid_request_error")
    assert reply_from_server(500, content, None)[0] == 500


def test_a_stream_of_reasoning_is_renamed_event_by_event() -> None:
    translator = EventTranslator()
    assert deltas(translator.feed(event({"reasoning": "hm"}))) == [{"reasoning_content": "hm"}]
    assert translator.feed(b": keep-alive\n\n") == b": keep-alive\n\n"
    plain = event({"content": 'a "reasoning": b'})
    assert translator.feed(plain) == plain


def test_only_the_first_piece_of_a_tool_call_has_id_and_name() -> None:
    pieces = [
        {"role": None, "tool_calls": [{"index": i, "id": f"c{i}", "type": "function", "function": function}]}
        for i, function in [
            (0, {"name": "f", "arguments": ""}),
            (0, {"name": "f", "arguments": "{"}),
            (1, {"name": "g", "arguments": ""}),
            (0, {"name": "f", "arguments": "}"}),
        ]
    ]
    answered = deltas(translate(*map(event, pieces), event({}, "tool_calls")))
    calls = [delta["tool_calls"][0] for delta in answered if delta]
    assert [call.get("id") for call in calls] == ["c0", None, "c1", None]
    assert [call["function"].get("name") for call in calls] == ["f", None, "g", None]
    assert [call["function"]["arguments"] for call in calls] == ["", "{", "", "}"]


def test_done_is_added_only_to_an_answer_that_is_complete() -> None:
    assert translate(event({"content": "a"}, "stop")).endswith(b"data: [DONE]\n\n")
    assert translate(event({}, "stop"), b"data: [DONE]\n\n").count(b"[DONE]") == 1
    with pytest.raises(ValueError, match="without"):
        translate(event({"content": "a"}))


@pytest.mark.parametrize("data", [b'{"error": "out of memory"}', b'{"error": "it said "no" to us"}'])
def test_an_error_inside_a_stream_is_readable(data: bytes) -> None:
    answered = translate(b"data: " + data + b"\n\n")
    error = json.loads(answered.removeprefix(b"data: "))["error"]
    assert error["message"] in {"out of memory", 'it said "no" to us'}
    assert error["type"] == "server_error"


def test_lines_of_an_event_beside_its_data_stay() -> None:
    answered = translate(b'event: error\r\ndata: {"error": "x"}\r\n\r\n')
    assert answered.startswith(b"event: error\ndata: ")
