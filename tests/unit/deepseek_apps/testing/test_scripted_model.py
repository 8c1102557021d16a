"""ScriptedChatModel in agents, chains and streams."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from pydantic import BaseModel

from deepseek_apps.testing import ScriptedChatModel, ScriptUsedUpError


class Answer(BaseModel):
    """What was found."""

    number: int


def weather(city: str) -> str:
    """Say how the weather is."""
    return f"Rain in {city}."


CALL = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "1"}])


def test_an_agent_runs_through_the_script() -> None:
    model = ScriptedChatModel(replies=[CALL, "Take an umbrella."])
    result = create_agent(model, tools=[weather]).invoke({"messages": [("user", "Oslo?")]})
    assert [message.text for message in result["messages"][-2:]] == ["Rain in Oslo.", "Take an umbrella."]
    assert model.calls[0].tools[0]["function"]["name"] == "weather"
    assert model.calls[1].messages[-1].text == "Rain in Oslo."
    model.assert_all_used()


@pytest.mark.parametrize("value", [{"number": 4}, Answer(number=4)])
@pytest.mark.parametrize("schema", [Answer, Answer.model_json_schema()])
def test_structured_output_is_filled_from_the_script(value: object, schema: Any) -> None:
    structured = ScriptedChatModel(replies=[value]).with_structured_output(schema)
    assert structured.invoke("How many?") == (Answer(number=4) if schema is Answer else {"number": 4})


def test_an_agents_response_format_is_filled_from_the_script() -> None:
    model = ScriptedChatModel(replies=[{"number": 4}])
    agent = create_agent(model, tools=[], response_format=Answer)
    assert agent.invoke({"messages": [("user", "How many?")]})["structured_response"] == Answer(number=4)


def test_the_end_of_the_script_says_so() -> None:
    model = ScriptedChatModel(replies=["one"])
    with pytest.raises(AssertionError, match="not asked for"):
        model.assert_all_used()
    model.invoke("a")
    with pytest.raises(ScriptUsedUpError, match=r"has 1 replies and this is call 2.*'b'"):
        model.invoke("b")
    assert len(model.calls) == 2


def test_the_last_reply_can_be_repeated() -> None:
    model = ScriptedChatModel(replies=["one", "two"], repeat_last=True)
    assert [model.invoke("x").content for _ in range(4)] == ["one", "two", "two", "two"]
    model.assert_all_used()


def test_functions_and_errors_are_replies_too() -> None:
    model = ScriptedChatModel(replies=[lambda asked: asked[-1].text.upper(), TimeoutError("slow"), 3])
    assert model.invoke("hi").content == "HI"
    with pytest.raises(TimeoutError, match="slow"):
        model.invoke("hi")
    with pytest.raises(TypeError, match="cannot be a int"):
        model.invoke("hi")


TEXTS = st.text("ab 你\n", max_size=20)
MESSAGES = st.builds(
    lambda text, thought, calls: AIMessage(
        text,
        additional_kwargs={"reasoning_content": thought} if thought else {},
        tool_calls=[
            {"name": name, "args": args, "id": f"c{i}", "type": "tool_call"}
            for i, (name, args) in enumerate(calls)
        ],
        id="m1",
    ),
    TEXTS,
    TEXTS,
    st.lists(st.tuples(st.sampled_from("fg"), st.dictionaries(TEXTS, TEXTS, max_size=2)), max_size=2),
)


@settings(max_examples=50, deadline=None)
@given(message=MESSAGES)
def test_chunks_merge_to_the_whole_message(message: AIMessage) -> None:
    model = ScriptedChatModel(replies=[message], repeat_last=True)
    whole = model.invoke("hi")
    chunks = list(model.stream("hi"))
    folded = chunks[0]
    for chunk in chunks[1:]:
        folded += chunk
    assert isinstance(folded, AIMessageChunk)
    assert (folded.content, folded.tool_calls) == (whole.content, whole.tool_calls)
    assert (folded.usage_metadata, folded.additional_kwargs) == (
        whole.usage_metadata,
        whole.additional_kwargs,
    )
    assert folded.response_metadata == whole.response_metadata
    assert chunks[-1].chunk_position == "last"


async def test_async_gives_the_same() -> None:
    model = ScriptedChatModel(replies=["one two"], repeat_last=True)
    assert (await model.ainvoke("hi")).content == "one two"
    assert [chunk.content async for chunk in model.astream("hi")] == ["one", " two", ""]


def test_calls_record_what_was_bound_and_given() -> None:
    model = ScriptedChatModel(replies=["x"], temperature=1, top_p=0.5, repeat_last=True)
    model.bind_tools([weather], tool_choice="any").invoke([HumanMessage("hi")], stop=["."], model="other")
    [call] = model.calls
    assert (call.forced_tool, call.stop, call.options["model"]) == ("weather", ["."], "other")
    assert model.bind_tools([weather], tool_choice="none").invoke("hi").response_metadata["model_name"]
    assert model.calls[1].forced_tool is None


def test_the_script_is_not_changed_by_its_reader() -> None:
    reply = AIMessage("one")
    model = ScriptedChatModel(replies=[reply])
    model.invoke("hi").additional_kwargs["x"] = 1
    assert reply.usage_metadata is None
