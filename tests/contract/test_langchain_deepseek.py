"""langchain-deepseek's own ChatDeepSeek runs over our transports: streaming or not, sync and async."""

from __future__ import annotations

import os

import httpx2
import pytest
from fake_deepseek import fake_deepseek
from langchain_core.messages import AIMessageChunk
from langchain_deepseek import ChatDeepSeek
from stub_handler import StubHandler

from deepseek_apps import async_http_client, http_client
from deepseek_apps.backends import AsyncLocalTransport, LocalTransport


@pytest.fixture(autouse=True)
def foreign_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-LEAK")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-LEAK")
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", f"{tmp_path}/config.toml")


def local_model(handler: StubHandler) -> ChatDeepSeek:
    return ChatDeepSeek(
        model="deepseek-flash",
        api_key="local",
        http_client=httpx2.Client(transport=LocalTransport(handler)),
        http_async_client=httpx2.AsyncClient(transport=AsyncLocalTransport(handler)),
    )


def fold(chunks: list[AIMessageChunk]) -> str:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return str(whole.content)


async def test_all_four_ways_give_the_same_answer_locally() -> None:
    handler = StubHandler(texts=("你", "好"))
    model = local_model(handler)
    answers = [
        model.invoke("hi").content,
        (await model.ainvoke("hi")).content,
        fold(list(model.stream("hi"))),
        fold([chunk async for chunk in model.astream("hi")]),
    ]
    assert answers == ["你好"] * 4
    assert {request.path for request in handler.requests} == {"/v1/chat/completions"}
    assert not any("LEAK" in str(request) for request in handler.requests)


def test_tokens_arrive_one_by_one() -> None:
    handler = StubHandler(texts=("a", "b"), held=True)
    handler.release()
    with local_model(handler).http_client as client:
        stream = ChatDeepSeek(model="m", api_key="local", http_client=client).stream("hi")
        assert next(stream).content == "a"
        assert handler.produced == ["a"]
        stream.close()
        assert handler.cancelled.is_set()


def test_usage_reaches_the_message() -> None:
    usage = local_model(StubHandler()).invoke("hi").usage_metadata
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"]) == (5, 2)


async def test_over_our_http_clients_only_our_key_leaves() -> None:
    with fake_deepseek() as fake:
        options = {"base_url": fake.url, "api_key": "srv-key"}
        model = ChatDeepSeek(
            model="m",
            api_base=fake.url,
            http_client=http_client("server", **options),
            http_async_client=async_http_client("server", **options),
        )
        async with model.http_async_client:
            with model.http_client:
                assert model.invoke("hi").content == (await model.ainvoke("hi")).content == "Hello."
    assert {asked.headers["authorization"] for asked in fake.asked} == {"Bearer srv-key"}
    assert not any("LEAK" in asked.sent for asked in fake.asked)
