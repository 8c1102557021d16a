"""client.cost(): the same price whatever form the usage is in, and whose price it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from fake_deepseek import USAGE, FakeDeepSeek, completion, stream
from langchain_core.messages import AIMessage
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError
from deepseek_apps.answer import Usage
from deepseek_apps.cost import cost_of

# Thursday 12:00 in Beijing is off-peak, 10:00 is not; the fake's answers are of 2026-09-21 21:33 there.
OFF_PEAK, PEAK = datetime(2026, 11, 19, 4, 30, tzinfo=UTC), datetime(2026, 11, 19, 2, tzinfo=UTC)
LANGCHAIN: Any = {
    "input_tokens": 212, "output_tokens": 3, "total_tokens": 215, "input_token_details": {"cache_read": 128}
}  # fmt: skip
BODY = json.loads(completion().parts[0])  # type: ignore[arg-type]
FORMS: dict[str, Any] = {
    "dict": USAGE,
    "sdk": CompletionUsage.model_validate(USAGE),
    "langchain": LANGCHAIN,
    "ours": Usage.from_wire(USAGE),
    "answer": ChatCompletion.model_validate(BODY),
    "answer dict": BODY,
    "message": AIMessage("", usage_metadata=LANGCHAIN, response_metadata={"model_name": "deepseek-flash"}),
}


@pytest.fixture
def client(fake: FakeDeepSeek) -> Any:
    with DeepSeek(backend="hosted", base_url=fake.url, api_key="sk") as made:
        yield made


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_usage_has_the_same_price(form: str, client: DeepSeek) -> None:
    cost = client.cost(FORMS[form], at=OFF_PEAK)
    assert cost is not None
    assert cost == cost_of(USAGE, model="deepseek-flash", at=OFF_PEAK)
    assert cost.total == (128 * Decimal("0.003") + 84 * Decimal("0.15") + 3 * Decimal("0.60")) / 10**6


def test_the_hour_the_model_and_the_currency_count(client: DeepSeek) -> None:
    cheap, dear = client.cost(USAGE, at=OFF_PEAK), client.cost(USAGE, at=PEAK)
    pro = client.cost(USAGE, at=OFF_PEAK, model="deepseek-v4-pro")
    yuan = client.cost(USAGE, at=OFF_PEAK, currency="CNY")
    assert cheap
    assert dear
    assert pro
    assert yuan
    assert dear.total == 2 * cheap.total < pro.total < yuan.total
    assert yuan.currency == "CNY"


def test_an_answer_says_its_own_hour_and_model(client: DeepSeek) -> None:
    answer = ChatCompletion.model_validate(BODY | {"created": int(PEAK.timestamp())})
    assert client.cost(answer) == cost_of(USAGE, model="deepseek-flash", at=PEAK)
    assert client.cost(answer, at=OFF_PEAK) == cost_of(USAGE, model="deepseek-flash", at=OFF_PEAK)


def test_usage_without_an_hour_is_of_now(client: DeepSeek) -> None:
    assert client.cost(USAGE) is not None


def test_a_stream_has_its_price_on_the_last_chunk(client: DeepSeek, fake: FakeDeepSeek) -> None:
    fake.script.append(stream("Hi"))
    chunks = list(client.chat.completions.create(messages=[{"role": "user", "content": "Hi"}], stream=True))
    assert client.cost(chunks[-1]) == client.cost(BODY)
    with pytest.raises(SettingsError, match="no token counts") as caught:
        client.cost(chunks[0])
    assert "include_usage" in caught.value.help_message


async def test_this_machine_costs_nothing_and_can_be_compared() -> None:
    async with AsyncDeepSeek(backend="local") as client:
        own = client.cost(USAGE, at=OFF_PEAK)
        there = client.cost(USAGE, at=OFF_PEAK, model="deepseek-flash")
    assert own is not None
    assert own.total == 0
    assert there == cost_of(USAGE, model="deepseek-flash", at=OFF_PEAK)


@pytest.mark.parametrize("nothing", [None, {}, "text", AIMessage("no usage")])
def test_what_holds_no_usage_is_refused(nothing: Any, client: DeepSeek) -> None:
    with pytest.raises(SettingsError, match="no token counts"):
        client.cost(nothing)
