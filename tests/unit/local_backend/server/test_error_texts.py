"""The hosted API's error texts, word for word: clients match on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_engine import ScriptedEngine
from server_client import USER, WEATHER, handler_for, post, read

_ASSISTANT_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
_DESERIALIZE = "Failed to deserialize the JSON body into the target type: "
_FAULTS = json.loads((Path(__file__).parents[3] / "fixtures/wire/chat_field_faults.json").read_text("utf-8"))


@pytest.mark.parametrize("row", _FAULTS["rows"], ids=lambda row: row["message"][:40])
def test_field_fault(row):
    engine = ScriptedEngine()
    status, body = read(post(handler_for(engine), {"model": "toy", "messages": USER, **row["fields"]}))
    error = json.loads(body)["error"]
    assert status == 400
    assert error.pop("message") == row["message"].replace("{deserialize}", _DESERIALIZE)
    assert error == {"type": "invalid_request_error", "param": None, "code": "invalid_request_error"}
    assert engine.submitted == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "EOF while parsing a value at line 1 column 0"),
        (b'{"messages":"\\ud800"}', "unexpected end of hex escape at line 1 column 20"),
        (b"\xff", "expected value at line 1 column 1"),
        (b'{"messages":' + b"[" * 10_000, "recursion limit exceeded at line 1 column 139"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/chat/completions", "/beta/completions"])
def test_syntax_fault_is_plain_text(body, text, path):
    response = post(handler_for(ScriptedEngine()), body, path)
    assert response.headers["content-type"].startswith("text/plain")
    assert read(response) == (400, f"Failed to parse the request body as JSON: {text}")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "missing field `messages` at line 1 column 2"),
        (b"{\n}\n", "missing field `messages` at line 2 column 1"),
        (b'{"messages":[]}', "missing field `model` at line 1 column 15"),
        (b"null", "invalid type: null, expected struct ChatCompletionRequest at line 1 column 4"),
    ],
)
def test_document_fault_names_its_end(body, text):
    status, reply = read(post(handler_for(ScriptedEngine()), body))
    assert (status, json.loads(reply)["error"]["message"]) == (400, _DESERIALIZE + text)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "missing field `prompt`"),
        ({"prompt": "x", "stop": 5}, "stop: expected a string or a list"),
        ({"prompt": ["x"]}, "prompt: invalid type, expected a string"),
        ({"prompt": "x", "echo": 1}, "echo: invalid type, expected a boolean"),
        ({"prompt": "x", "max_tokens": 4097}, "the valid range of max_tokens is [1, 4096]"),
        ({"prompt": "x", "logprobs": True}, "the valid range of logprobs is [0, 20]"),
        ({"prompt": "x", "temperature": 3}, "the valid range of temperature is [0, 2]"),
        ({"prompt": "x" * 194}, "(200 in the messages, 1 in the completion)"),
    ],
)
def test_completion_fault(fields, text):
    status, reply = read(post(handler_for(ScriptedEngine()), {"model": "toy", **fields}, "/beta/completions"))
    assert status == 400
    assert text in json.loads(reply)["error"]["message"]


def test_forced_tool_choice_is_refused_while_thinking():
    handler = handler_for(ScriptedEngine(thinking=True))
    fields = {"model": "toy", "messages": USER, "tools": [WEATHER], "tool_choice": "required"}
    assert "Thinking mode does not support this tool_choice" in read(post(handler, fields))[1]


def test_missing_reasoning_is_filled_unless_strict():
    result = {"role": "tool", "tool_call_id": "c1", "content": "3"}
    body = {"model": "toy", "messages": [*USER, _ASSISTANT_CALL, result]}
    assert read(post(handler_for(ScriptedEngine(thinking=True)), body))[0] == 200
    status, text = read(post(handler_for(ScriptedEngine(thinking=True), strict_reasoning=True), body))
    assert (status, "must be passed back to the API" in text) == (400, True)
