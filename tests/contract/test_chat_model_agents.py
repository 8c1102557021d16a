"""ChatDeepSeek inside LangChain's agents and LangGraph, answered by the loopback DeepSeek."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from deepseek_apps import ChatDeepSeek
from deepseek_apps.testing import FakeDeepSeek


@tool
def weather(city: str) -> str:
    """Weather in a city."""
    return f"Rain in {city}."


class Report(BaseModel):
    """A weather report."""

    city: str
    rain: bool


@pytest.fixture(params=["fill", "reject"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeDeepSeek]:
    with FakeDeepSeek(reasoning_policy=request.param, count_tokens=False) as fake:
        yield fake


@pytest.fixture
def model(fake: FakeDeepSeek) -> Iterator[ChatDeepSeek]:
    model = ChatDeepSeek(backend="hosted", base_url=fake.url, api_key=fake.api_key, max_retries=0)
    yield model
    model.root_client.close()


def ask(text: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def script_a_tool_turn(fake: FakeDeepSeek, city: str) -> None:
    fake.reply(reasoning=f"Look up {city}.", tool_calls=[("weather", {"city": city})])
    fake.reply(f"It rains in {city}.", reasoning="Now I know.")


def test_two_turns_of_a_tool_loop_keep_their_reasoning(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    agent = create_agent(model, [weather], checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    for city in ("Oslo", "Rome"):
        script_a_tool_turn(fake, city)
        assert (
            agent.invoke(ask(f"Weather in {city}?"), thread)["messages"][-1].content == f"It rains in {city}."
        )
    sent = [m.get("reasoning_content") for m in fake.requests[-1].messages if m["role"] == "assistant"]
    assert sent == ["Look up Oslo.", "Now I know.", "Look up Rome."]


def test_thinking_stays_on_in_a_tool_loop(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    script_a_tool_turn(fake, "Oslo")
    create_agent(model, [weather]).invoke(ask("Weather in Oslo?"))
    assert all("thinking" not in request.body for request in fake.requests)


@pytest.mark.parametrize("how", ["disable_thinking", "instruct"])
def test_an_agent_answers_in_a_schema(
    fake: FakeDeepSeek, model: ChatDeepSeek, how: Literal["disable_thinking", "instruct"]
) -> None:
    fake.reply(tool_calls=[("weather", {"city": "Oslo"})])
    fake.reply(tool_calls=[("Report", {"city": "Oslo", "rain": True})])
    agent = create_agent(
        model.model_copy(update={"forced_tool_choice": how}), [weather], response_format=Report
    )
    assert agent.invoke(ask("Weather in Oslo?"))["structured_response"] == Report(city="Oslo", rain=True)
    assert all("json_schema" not in request.sent for request in fake.requests)


def test_an_agent_told_to_use_the_providers_schema_gets_one(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    fake.reply(tool_calls=[("weather", {"city": "Oslo"})])
    fake.reply('{"city": "Oslo", "rain": true}')
    agent = create_agent(model, [weather], response_format=ProviderStrategy(Report))
    assert agent.invoke(ask("Weather in Oslo?"))["structured_response"] == Report(city="Oslo", rain=True)


def test_summarisation_knows_the_window(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    fake.reply("They spoke of the sea.").reply("The sea is salty.")
    small = model.model_copy(update={"profile": {**(model.profile or {}), "max_input_tokens": 100}})
    middleware = SummarizationMiddleware(small, trigger=("fraction", 0.5), keep=("messages", 1))
    history = [
        HumanMessage("Tell me of the sea. " * 20),
        AIMessage("It is wide. " * 20),
        HumanMessage("Salty?"),
    ]
    result = create_agent(small, middleware=[middleware]).invoke({"messages": history})
    assert result["messages"][-1].content == "The sea is salty."
    assert "They spoke of the sea." in str(fake.requests[1].messages)


def test_langgraph_streams_tokens_and_reasoning(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    script_a_tool_turn(fake, "Oslo")
    agent = create_agent(model, [weather])
    parts = [
        part
        for part, _ in agent.stream(ask("Weather in Oslo?"), stream_mode="messages")
        if isinstance(part, AIMessageChunk)
    ]
    assert "".join(part.text for part in parts) == "It rains in Oslo."
    thoughts = [part.additional_kwargs.get("reasoning_content", "") for part in parts]
    assert "".join(thoughts) == "Look up Oslo.Now I know."


async def test_events_show_the_models_tokens(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    fake.reply(["It ", "rains."])
    events = [event async for event in create_agent(model).astream_events(ask("Hi"), version="v2")]
    await model.root_async_client.close()
    texts = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(texts) == "It rains."


def test_a_configurable_model_changes_name_and_thinking(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    configurable = model.configurable_fields(
        model_name=ConfigurableField(id="model"), thinking=ConfigurableField(id="thinking")
    )
    chosen = configurable.with_config(configurable={"model": "deepseek-v4-pro", "thinking": False})
    chosen.invoke("Hi")
    configurable.invoke("Hi")
    assert [request.model for request in fake.requests] == ["deepseek-v4-pro", "deepseek-flash"]
    assert fake.requests[0].body["thinking"] == {"type": "disabled"}
    assert "thinking" not in fake.requests[1].body
