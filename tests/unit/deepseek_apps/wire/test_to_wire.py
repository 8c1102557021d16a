"""LangChain messages to a request's messages."""

from __future__ import annotations

import json

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from deepseek_apps.errors import InvalidRequestError
from deepseek_apps.wire import to_wire

CALL = {"name": "f", "args": {"city": "北京"}, "id": "c1"}


def one(message, **options):
    (wire,) = to_wire([message], **options)
    return wire


def assistant(text="", *, thought=None, calls=(), **extra):
    extra |= {} if thought is None else {"reasoning_content": thought}
    return AIMessage(text, additional_kwargs=extra, tool_calls=list(calls))


def test_plain_conversation() -> None:
    messages = [SystemMessage("s"), HumanMessage("h", name="ann"), AIMessage("a")]
    assert to_wire(messages) == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "h", "name": "ann"},
        {"role": "assistant", "content": "a"},
    ]


@pytest.mark.parametrize(
    ("message", "role"),
    [
        (ChatMessage("x", role="developer"), "system"),
        (ChatMessage("x", role="latest_reminder"), "latest_reminder"),
        (ChatMessage("x", role="human"), "user"),
        (ChatMessage("x", role="assistant"), "assistant"),
        (SystemMessage("x", additional_kwargs={"__openai_role__": "developer"}), "system"),
    ],
)
def test_roles(message, role) -> None:
    assert one(message) == {"role": role, "content": "x"}


@pytest.mark.parametrize(
    "message", [ChatMessage("x", role="critic"), FunctionMessage("x", name="f"), RemoveMessage(id="1")]
)
def test_unknown_roles_are_refused_by_name(message) -> None:
    with pytest.raises(InvalidRequestError, match="no role '"):
        one(message)


def test_text_parts_join_as_the_api_joins_them() -> None:
    parts = [{"type": "text", "text": "a", "cache_control": {}}, "b"]
    assert one(HumanMessage(parts))["content"] == "a\n\nb"
    assert one(AIMessage(parts))["content"] == "ab"
    assert one(ToolMessage(parts, tool_call_id="c"))["content"] == "a\n\nb"


def test_calls_keep_their_text_and_the_reasoning_field() -> None:
    assert one(assistant(calls=[CALL])) == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city": "北京"}'}}
        ],
    }


def test_invalid_calls_go_back_as_they_came() -> None:
    message = AIMessage("", invalid_tool_calls=[{"name": "f", "args": '{"a', "id": "c", "error": "x"}])
    assert one(message)["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a'}


def test_empty_ids_are_made_up_and_results_follow_by_name() -> None:
    calls = [{"name": name, "args": {}, "id": ""} for name in "fg"]
    results = [ToolMessage("of g", tool_call_id="", name="g"), ToolMessage("of f", tool_call_id="")]
    wire = to_wire([HumanMessage("h"), assistant(calls=calls), *results])
    made = [call["id"] for call in wire[1]["tool_calls"]]
    assert len(set(made)) == 2
    assert [message["tool_call_id"] for message in wire[2:]] == made[::-1]


def test_a_repeated_id_gets_its_own_and_results_follow_in_order() -> None:
    calls = [{"name": "f", "args": {"n": n}, "id": "same"} for n in (1, 2)]
    results = [ToolMessage(str(n), tool_call_id="same", name="f") for n in (1, 2)]
    wire = to_wire([assistant(calls=calls), *results])
    assert [m["tool_call_id"] for m in wire[1:]] == [call["id"] for call in wire[0]["tool_calls"]]
    assert len({m["tool_call_id"] for m in wire[1:]}) == 2


def test_anthropic_history() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "42"}]}
    wire = to_wire([AIMessage(["Let me.", use]), HumanMessage([result, {"type": "text", "text": "and?"}])])
    assert wire[0]["content"] == "Let me."
    assert wire[0]["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'
    assert wire[1:] == [
        {"role": "tool", "tool_call_id": "t1", "content": "42"},
        {"role": "user", "content": "and?"},
    ]


def test_calls_repeated_in_the_content_are_sent_once() -> None:
    use = {"type": "tool_use", "id": "c1", "name": "f", "input": {"city": "北京"}}
    assert len(one(AIMessage([use], tool_calls=[CALL]))["tool_calls"]) == 1


@pytest.mark.parametrize(
    "block",
    [
        {"type": "reasoning", "reasoning": "R"},
        {"type": "thinking", "thinking": "R", "signature": "s"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "R"}]},
        {"type": "reasoning_content", "reasoning_content": {"text": "R"}},
        {"type": "non_standard", "value": {"type": "thinking", "thinking": "R"}},
    ],
)
def test_reasoning_blocks(block) -> None:
    wire = one(AIMessage([block, {"type": "text", "text": "a"}]))
    assert (wire["reasoning_content"], wire["content"]) == ("R", "a")


def test_v1_message_round_trip() -> None:
    message = AIMessage(
        content_blocks=[
            {"type": "reasoning", "reasoning": "R"},
            {"type": "text", "text": "a"},
            {"type": "tool_call", **CALL},
        ],
        response_metadata={"output_version": "v1"},
    )
    wire = one(message)
    assert (wire["reasoning_content"], wire["content"], len(wire["tool_calls"])) == ("R", "a", 1)


def _reasoning(echo):
    turns = [HumanMessage("1"), assistant("a", thought="R1"), HumanMessage("2")]
    turns += [assistant(calls=[CALL], thought="R2"), ToolMessage("x", tool_call_id="c1")]
    turns += [assistant("b", thought="R3"), HumanMessage("3"), assistant("c")]
    return [m.get("reasoning_content") for m in to_wire(turns, reasoning=echo) if m["role"] == "assistant"]


def test_which_reasoning_goes_back() -> None:
    assert _reasoning("all") == ["R1", "R2", "R3", None]
    assert _reasoning("tool_turns") == [None, "R2", "R3", None]
    assert _reasoning("never") == [None] * 4


def test_prefix_only_on_the_last_message() -> None:
    started = assistant("```python\n", prefix=True)
    assert to_wire([HumanMessage("h"), started])[-1]["prefix"] is True
    with pytest.raises(InvalidRequestError, match="message 1 of 2 has prefix"):
        to_wire([started, HumanMessage("h")])


def test_tool_results_of_every_kind() -> None:
    data = ToolMessage([{"type": "json", "json": {"键": 1}}], tool_call_id="c", artifact=object())
    assert json.loads(one(data)["content"])["json"] == {"键": 1}
    assert "键" in one(data)["content"]
    assert one(ToolMessage("", tool_call_id="c", status="error"))["content"].startswith("Error")
    assert set(one(data)) == {"role", "tool_call_id", "content"}


def test_lone_surrogates_are_replaced_and_halves_joined() -> None:
    assert one(HumanMessage("a\ud800b"))["content"] == "a\ufffdb"
    assert one(HumanMessage("\ud83d\ude00"))["content"] == "\U0001f600"
    call = one(assistant(calls=[{"name": "f", "args": {"p": "\udcff"}, "id": "c"}]))["tool_calls"][0]
    call["function"]["arguments"].encode()


def test_messages_are_not_changed() -> None:
    messages = [assistant(calls=[{**CALL, "id": ""}], thought="R"), ToolMessage("x", tool_call_id="")]
    before = [message.model_dump() for message in messages]
    to_wire(messages, reasoning="never")
    assert [message.model_dump() for message in messages] == before
