"""Calls through LangChain belong to the run around them, in batches and tasks; budgets reach the caller."""

from __future__ import annotations

import pytest
from langchain_core.runnables import RunnableLambda

import deepseek_apps
from deepseek_apps import ChatDeepSeek, async_http_client
from deepseek_apps.errors import BudgetExceededError
from deepseek_apps.routing.ledger import Ledger


@pytest.fixture
def model(fake) -> ChatDeepSeek:
    return ChatDeepSeek(
        model="deepseek-flash",
        backend="hosted",
        base_url=fake.url,
        api_key="k",
        max_tokens=100,
        max_retries=2,
    )


def recipes() -> list[str]:
    with Ledger() as ledger:
        return [str(recipe) for (recipe,) in ledger.rows("SELECT recipe FROM calls")]


def test_a_batch_belongs_to_its_run(model) -> None:
    with deepseek_apps.run(recipe="rag") as run:
        model.batch(["a", "b", "c"])
        (RunnableLambda(str.upper) | model).invoke("d")
    assert recipes() == ["rag"] * 4
    assert run.calls == 4


async def test_tasks_and_streams_belong_to_it_too(fake) -> None:
    async with async_http_client("hosted", base_url=fake.url, api_key="k") as client:
        model = ChatDeepSeek(model="deepseek-flash", http_async_client=client)
        with deepseek_apps.run(recipe="rag") as run:
            await model.abatch(["a", "b"])
            assert [chunk async for chunk in model.astream("c")]
    assert recipes() == ["rag"] * 3
    assert run.calls == 3


def test_a_budget_stops_the_model_once_and_by_name(model, fake) -> None:
    with deepseek_apps.run(budget=0), pytest.raises(BudgetExceededError, match="budget of 0 USD"):
        model.invoke("a")
    with deepseek_apps.run(budget=0), pytest.raises(BudgetExceededError):
        list(model.stream("a"))
    assert fake.asked == []
    assert model.invoke("b").content == "Hello."
