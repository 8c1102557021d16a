"""Requests in the hosted dialect, as each server wants them; shapes from the sources in servers.toml."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deepseek_apps.backends._server_request import UnsupportedRequestError
from deepseek_apps.backends._to_server import to_server
from deepseek_apps.catalog.servers import server_flavor

USER = {"role": "user", "content": "hi"}
STRICT = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}
LOOSE = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
NAMED = {"type": "function", "function": {"name": "f"}}


def translated(flavor: str, **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [USER]} | fields
    sent = to_server(body, server_flavor(flavor)).body
    return {key: value for key, value in sent.items() if body.get(key) != value or key not in body}


def dropped(flavor: str, **fields: Any) -> list[str]:
    return to_server({"model": "m", "messages": [USER]} | fields, server_flavor(flavor)).dropped


@pytest.mark.parametrize("flavor", ["vllm", "sglang", "llama-cpp", "transformers"])
@pytest.mark.parametrize("enabled", [True, False])
def test_thinking_becomes_arguments_of_the_template(flavor: str, enabled: bool) -> None:
    kind = {"type": "enabled" if enabled else "disabled"}
    assert translated(flavor, thinking=kind) == {
        "chat_template_kwargs": {"thinking": enabled, "enable_thinking": enabled}
    }


def test_arguments_of_the_template_given_by_the_caller_win() -> None:
    given = {"thinking": False, "tools_in_user_message": True}
    sent = translated("vllm", thinking={"type": "enabled"}, chat_template_kwargs=given)
    assert sent == {"chat_template_kwargs": {**given, "enable_thinking": True}}
    assert given == {"thinking": False, "tools_in_user_message": True}


@pytest.mark.parametrize(
    ("flavor", "effort", "field"),
    [
        ("vllm", "high", "high"),
        ("vllm", "max", None),
        ("sglang", "max", "max"),
        ("transformers", "high", None),
    ],
)
def test_effort_reaches_the_template_and_the_field_where_it_is_taken(
    flavor: str, effort: str, field: str | None
) -> None:
    sent = to_server({"messages": [USER], "reasoning_effort": effort}, server_flavor(flavor)).body
    assert sent.get("reasoning_effort") == field
    assert sent["chat_template_kwargs"] == {
        "thinking": True,
        "enable_thinking": True,
        "reasoning_effort": effort,
    }


def test_effort_means_nothing_where_thinking_is_off() -> None:
    sent = to_server(
        {"messages": [USER], "thinking": {"type": "disabled"}, "reasoning_effort": "max"},
        server_flavor("vllm"),
    ).body
    assert sent["chat_template_kwargs"] == {"thinking": False, "enable_thinking": False}
    assert "reasoning_effort" not in sent


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "enabled"}}, "high"),
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "low"}, "low"),
    ],
)
def test_ollama_is_told_by_effort_alone(fields: dict[str, Any], effort: str) -> None:
    sent = to_server({"messages": [USER]} | fields, server_flavor("ollama")).body
    assert sent == {"messages": [USER], "reasoning_effort": effort}


def test_a_server_that_cannot_think_loses_nothing_when_told_not_to() -> None:
    assert dropped("llama-cpp-python", thinking={"type": "disabled"}) == []
    assert dropped("llama-cpp-python", thinking={"type": "enabled"}, reasoning_effort="max") == [
        "thinking",
        "reasoning_effort",
    ]


def test_reasoning_in_history_has_the_servers_name() -> None:
    answer = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    sent = translated("vllm", messages=[USER, answer, USER])["messages"]
    assert sent == [USER, {"role": "assistant", "content": "4", "reasoning": "2+2"}, USER]
    assert translated("sglang", messages=[USER, answer, USER]) == {}
    assert "reasoning_content" in answer


def test_null_content_beside_tool_calls_is_empty_text_where_null_is_refused() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    sent = translated("llama-cpp-python", messages=[USER, asked])["messages"]
    assert sent[1] == {"role": "assistant", "content": "", "tool_calls": [call]}


def test_a_begun_answer_is_continued() -> None:
    begun = {"role": "assistant", "content": "1.", "prefix": True}
    plain = {"role": "assistant", "content": "1."}
    for flavor in ("vllm", "sglang"):
        assert translated(flavor, messages=[USER, begun]) == {
            "messages": [USER, plain],
            "continue_final_message": True,
            "add_generation_prompt": False,
        }
    assert translated("llama-cpp", messages=[USER, begun]) == {
        "messages": [USER, plain],
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert translated("deepseek-apps", messages=[USER, begun]) == {}


@pytest.mark.parametrize("flavor", ["llama-cpp-python", "transformers"])
def test_a_begun_answer_is_refused_where_it_would_be_misread(flavor: str) -> None:
    with pytest.raises(UnsupportedRequestError, match="cannot continue an answer"):
        translated(flavor, messages=[USER, {"role": "assistant", "content": "1.", "prefix": True}])
    finished = {"role": "assistant", "content": "1.", "prefix": False}
    assert translated(flavor, messages=[finished])["messages"] == [{"role": "assistant", "content": "1."}]


def test_a_schema_goes_where_the_server_looks_for_it() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    assert translated("vllm", response_format=wanted) == {}
    sent = translated("llama-cpp-python", response_format=wanted)
    assert sent == {"response_format": {"type": "json_object", "schema": SCHEMA}}
    described = translated("transformers", messages=[USER], response_format=wanted)["messages"][0]
    assert described["role"] == "system"
    assert json.dumps(SCHEMA) in described["content"]
    assert dropped("transformers", response_format={"type": "json_object"}) == ["response_format"]


def test_strict_is_left_out_where_it_promises_nothing() -> None:
    assert translated("vllm", tools=[STRICT]) == {"tools": [LOOSE]}
    assert dropped("vllm", tools=[STRICT]) == ["strict"]
    assert translated("sglang", tools=[STRICT]) == {}


def test_a_required_tool_is_named_where_only_names_are_obeyed() -> None:
    assert translated("llama-cpp-python", tools=[LOOSE], tool_choice="required") == {"tool_choice": NAMED}
    two = [LOOSE, {"type": "function", "function": {"name": "g"}}]
    assert dropped("llama-cpp-python", tools=two, tool_choice="required") == ["tool_choice"]


def test_no_tool_choice_is_no_tools_where_the_field_is_ignored() -> None:
    sent = to_server({"messages": [USER], "tools": [LOOSE], "tool_choice": "none"}, server_flavor("ollama"))
    assert (sent.body, sent.dropped) == ({"messages": [USER]}, [])


def test_fields_that_would_be_refused_are_left_out_and_named() -> None:
    lost = dropped("transformers", user_id="u", stream_options={"include_usage": True}, top_logprobs=2)
    assert lost == ["top_logprobs"]


@pytest.mark.parametrize(
    ("model", "prompt"),
    [
        ("DeepSeek-Coder-V2-Lite", "<｜fim▁begin｜>a{b}<｜fim▁hole｜>c<｜fim▁end｜>"),
        ("/models/qwen2.5-coder.gguf", "<|fim_prefix|>a{b}<|fim_suffix|>c<|fim_middle|>"),
    ],
)
def test_a_hole_is_marked_as_the_model_knows_it(model: str, prompt: str) -> None:
    body = {"model": model, "prompt": "a{b}", "suffix": "c", "max_tokens": 9}
    assert to_server(body, server_flavor("vllm")).body == {"model": model, "prompt": prompt, "max_tokens": 9}
    assert to_server(body, server_flavor("ollama")).body == body


@pytest.mark.parametrize("fields", [{"model": "llama"}, {"model": "deepseek", "echo": True}])
def test_a_hole_that_cannot_be_marked_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedRequestError, match="cannot fill in the middle"):
        to_server({"prompt": "a", "suffix": "c"} | fields, server_flavor("sglang"))


def test_an_empty_suffix_marks_nothing() -> None:
    sent = to_server({"model": "x", "prompt": "a", "suffix": ""}, server_flavor("vllm"))
    assert sent.body == {"model": "x", "prompt": "a"}
