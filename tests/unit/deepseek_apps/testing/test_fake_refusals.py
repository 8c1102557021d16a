"""What the fake refuses, in the words of the reference, and what that leaves in the queue."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from fake_asking import HI, OFF, post, refusal

from deepseek_apps.testing import FakeDeepSeek

ECHO = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURN = [*HI, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "3"}
PREFIX = [*HI, {"role": "assistant", "content": "#", "prefix": True}]


def strict(schema: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}


REFUSED = [
    (
        {"model": "gpt-5"},
        "The supported API model names are deepseek-flash, deepseek-v4-pro, but you passed gpt-5.",
    ),
    (
        {"model": "deepseek-chat"},
        "The supported API model names are deepseek-flash, deepseek-v4-pro, but you passed deepseek-chat.",
    ),
    ({"messages": []}, "Empty input messages"),
    ({"max_tokens": 0}, "Invalid max_tokens value, the valid range of max_tokens is [1, 393216]"),
    ({"temperature": 3}, "Invalid temperature value, the valid range of temperature is [0, 2]"),
    ({"n": 2}, "Invalid n value (currently only n = 1 is supported)"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        "This response_format type is unavailable now",
    ),
    (
        {"response_format": {"type": "json_object"}},
        "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
    ),
    ({"tools": [ECHO], "tool_choice": "required"}, "Thinking mode does not support this tool_choice"),
    ({"tools": [ECHO, ECHO]}, "Tool names must be unique."),
    (
        {
            "tools": [ECHO],
            "thinking": OFF,
            "tool_choice": {"type": "function", "function": {"name": "nope"}},
        },
        "Invalid value for 'tool_call': no function named 'nope' was specified in the 'tools' parameter.",
    ),
    (
        {"messages": [*HI, RESULT]},
        "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'",
    ),
    (
        {"user_id": "u" * 513},
        "Invalid 'user_id': string too long. Expected a string with maximum length 512, "
        "but got a string with length 513 instead",
    ),
    (
        {"messages": PREFIX},
        'prefix is only available when using beta api (set base_url="https://api.deepseek.com/beta")',
    ),
    (
        {"stream_options": {"include_usage": True}},
        "stream_options should be set along with stream = true",
    ),
]


@pytest.mark.parametrize(("fields", "text"), REFUSED, ids=[text[:30] for _, text in REFUSED])
def test_the_apis_own_words(fake: FakeDeepSeek, fields: dict[str, object], text: str) -> None:
    assert refusal(fake, **fields) == text


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": []},
            "Required properties must match all properties in the object",
        ),
        (
            {"type": "object", "properties": {}, "required": [], "additionalProperties": True},
            "additionalProperties should not be true",
        ),
        ({"type": "string"}, "The top level of the function parameters schema must be an object."),
    ],
)
def test_strict_schemas_are_checked(fake: FakeDeepSeek, schema: object, text: str) -> None:
    assert text in refusal(fake, "/beta/chat/completions", tools=[strict(schema)])


def test_strict_and_loose_tools_do_not_mix(fake: FakeDeepSeek) -> None:
    other = strict({"type": "object", "properties": {}, "required": []})
    other["function"]["name"] = "g"
    assert refusal(fake, "/beta/chat/completions", tools=[ECHO, other]) == (
        "Cannot use strict tool with non-strict tool in the same request"
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"messages": {"a": 1}}, "messages: invalid type: map, expected a sequence at line 1 column"),
        (
            {"messages": [{"role": "developer", "content": "x"}]},
            "messages[0]: unknown variant `developer`, expected one of `system`, `user`, `assistant`, "
            "`tool`, `latest_reminder` at line 1 column",
        ),
        ({"temperature": "hot"}, 'temperature: invalid type: string "hot"'),
    ],
)
def test_the_wrong_shape_names_its_place(fake: FakeDeepSeek, fields: dict[str, object], text: str) -> None:
    start = "Failed to deserialize the JSON body into the target type: "
    assert refusal(fake, **fields).startswith(start + text)


def raw_post(fake: FakeDeepSeek, body: bytes, content_type: str = "application/json") -> httpx2.Response:
    headers = {"authorization": f"Bearer {fake.api_key}", "content-type": content_type}
    return httpx2.post(
        f"{fake.url}/chat/completions", content=body, headers=headers, trust_env=False, verify=False
    )


def test_bodies_that_are_no_json_get_plain_text(fake: FakeDeepSeek) -> None:
    empty = raw_post(fake, b"")
    assert (empty.status_code, empty.text) == (
        400,
        "Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 0",
    )
    assert "missing field `messages` at line 1 column 2" in raw_post(fake, b"{}").json()["error"]["message"]
    assert "hex escape" in raw_post(fake, b'{"model": "\\ud800"}').text
    assert raw_post(fake, b"[1]").status_code == 400
    wrong = raw_post(fake, b"{}", "text/plain")
    assert (wrong.status_code, wrong.text) == (
        415,
        "Expected request with `Content-Type: application/json`",
    )


@pytest.mark.parametrize("policy", ["fill", "reject"])
def test_both_policies_for_missing_reasoning(policy: str) -> None:
    with FakeDeepSeek(reasoning_policy=policy, count_tokens=False) as fake:
        response = post(fake, messages=[*TURN, RESULT])
        kept = post(fake, messages=[*HI, TURN[1] | {"reasoning_content": ""}, RESULT])
    assert kept.status_code == 200
    if policy == "fill":
        assert response.status_code == 200
    else:
        assert response.json()["error"]["message"] == (
            "The `reasoning_content` in the thinking mode must be passed back to the API."
        )


def test_an_overflow_counts_prompt_and_answer() -> None:
    with FakeDeepSeek(context=100, count_tokens=False) as fake:
        text = refusal(fake, max_tokens=90)
    assert text.startswith("This model's maximum context length is 100 tokens. However, you requested ")
    assert text.endswith(", 90 in the completion). Please reduce the length of the messages or completion.")


def test_a_refused_request_uses_up_nothing(fake: FakeDeepSeek) -> None:
    fake.delay(0.0, per_chunk=0.001).reply("kept")
    refusal(fake, n=2)
    assert post(fake).json()["choices"][0]["message"]["content"] == "kept"
    fake.assert_all_used()


def test_an_image_is_dropped_silently_by_the_model_that_sees_none(fake: FakeDeepSeek) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "Look"}, image]}]
    assert post(fake, model="deepseek-v4-pro", messages=messages).status_code == 200
