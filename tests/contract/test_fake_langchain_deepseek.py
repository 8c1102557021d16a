"""langchain-deepseek's ChatDeepSeek, which nobody here wrote, against the fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_deepseek import ChatDeepSeek

from deepseek_apps.testing import FakeDeepSeek


@tool
def weather(city: str) -> str:
    """Say how the weather is."""
    return f"Rain in {city}."


@pytest.fixture
def fake() -> Iterator[FakeDeepSeek]:
    with FakeDeepSeek(count_tokens=False) as running:
        yield running


@pytest.fixture
async def model(fake: FakeDeepSeek) -> AsyncIterator[ChatDeepSeek]:
    async with httpx2.AsyncClient(trust_env=False) as async_client:
        with httpx2.Client(trust_env=False) as client:
            yield ChatDeepSeek(
                model="deepseek-flash",
                api_base=fake.url,
                api_key=fake.api_key,
                max_retries=0,
                stream_usage=True,
                http_client=client,
                http_async_client=async_client,
            )


async def test_reasoning_text_and_usage_arrive(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    fake.reply("Hello 你好", reasoning="A greeting.", times=2)
    whole = model.invoke("Hi")
    folded: AIMessageChunk | None = None
    for chunk in model.stream("Hi"):
        folded = chunk if folded is None else folded + chunk
    assert folded is not None
    assert folded.content == whole.content == "Hello 你好"
    assert folded.additional_kwargs["reasoning_content"] == "A greeting."
    assert whole.additional_kwargs["reasoning_content"] == "A greeting."
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_token_details"]["reasoning"] == 3


async def test_calls_arrive_in_all_four_ways(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    fake.reply("Let me look.", tool_calls=[("weather", {"city": "奥斯陆"})], times=4)
    bound = model.bind_tools([weather])
    answers = [bound.invoke("Hi"), await bound.ainvoke("Hi")]
    for chunks in ([*bound.stream("Hi")], [chunk async for chunk in bound.astream("Hi")]):
        folded = chunks[0]
        for chunk in chunks[1:]:
            folded += chunk
        answers.append(folded)
    assert [answer.tool_calls[0]["args"] for answer in answers] == [{"city": "奥斯陆"}] * 4


async def test_a_tool_loop_loses_its_reasoning(fake: FakeDeepSeek, model: ChatDeepSeek) -> None:
    # The defect of langchain-deepseek 1.1.1 that the strict policy shows (langchain#34166).
    fake.configure(reasoning_policy="reject").reply(
        reasoning="Look.", tool_calls=[("weather", {"city": "Oslo"})]
    )
    bound = model.bind_tools([weather])
    asked = HumanMessage("Oslo?")
    call = bound.invoke([asked])
    result = weather.invoke(call.tool_calls[0])
    with pytest.raises(Exception, match="must be passed back"):
        bound.invoke([asked, call, result])
    fake.configure(reasoning_policy="fill")
    assert bound.invoke([asked, call, result]).content == "The tool said: Rain in Oslo."
