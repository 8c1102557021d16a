"""client.balance(): the account's money as exact values, and nobody asked who has no account."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import openai
import pytest
from fake_deepseek import FakeDeepSeek, error
from fim_replies import BALANCE, balance_reply
from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError
from deepseek_apps.balance import Balance, balance_from_wire
from deepseek_apps.errors import BackendError


def test_the_balance_is_read(fake: FakeDeepSeek) -> None:
    fake.script.append(balance_reply())
    with DeepSeek(backend="hosted", base_url=fake.url, api_key="sk") as client:
        left = client.balance()
    assert left.available
    assert left.total("CNY") == Decimal("110.00") == left.infos[0].granted + left.infos[0].topped_up
    assert left.total() == 0
    assert (fake.asked[0].method, fake.asked[0].path) == ("GET", "/user/balance")
    assert fake.asked[0].headers["authorization"] == "Bearer sk"


async def test_the_balance_is_read_asynchronously(fake: FakeDeepSeek) -> None:
    fake.script.append(balance_reply())
    async with AsyncDeepSeek(backend="hosted", base_url=fake.url, api_key="sk") as client:
        assert await client.balance() == balance_from_wire(BALANCE)


async def test_other_backends_have_no_account(fake: FakeDeepSeek) -> None:
    with DeepSeek(backend="local") as local, pytest.raises(SettingsError, match="local backend") as caught:
        local.balance()
    assert "backend='hosted'" in caught.value.help_message
    async with AsyncDeepSeek(backend="server", base_url=fake.url) as server:
        with pytest.raises(SettingsError, match="server backend"):
            await server.balance()
    assert fake.asked == []


def test_a_refused_key_is_the_sdks_error(fake: FakeDeepSeek) -> None:
    fake.script.append(error(401, "Authentication Fails"))
    client = DeepSeek(backend="hosted", base_url=fake.url, api_key="sk")
    with client, pytest.raises(openai.AuthenticationError):
        client.balance()


@pytest.mark.parametrize(
    "reply",
    [None, [], {}, "text", {"is_available": True}, {"is_available": True, "balance_infos": [{}]},
     {"is_available": True, "balance_infos": [{"currency": "USD", "total_balance": "much"}]}],
)  # fmt: skip
def test_what_the_api_does_not_document_is_a_backend_error(reply: Any) -> None:
    with pytest.raises(BackendError, match="cannot be read"):
        balance_from_wire(reply)


MONEY = st.decimals(0, 10**9, places=2).map(str)
ROWS = st.lists(
    st.fixed_dictionaries({"currency": st.sampled_from(["USD", "CNY"]), "total_balance": MONEY}), max_size=4
)


@given(st.booleans(), ROWS)
def test_no_cent_is_lost(available: bool, rows: list[dict[str, str]]) -> None:
    left = balance_from_wire(json.loads(json.dumps({"is_available": available, "balance_infos": rows})))
    assert isinstance(left, Balance)
    assert left.total("USD") + left.total("CNY") == sum(Decimal(row["total_balance"]) for row in rows)
