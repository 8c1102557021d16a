"""`deepseek-apps balance` against a loopback DeepSeek."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fake_deepseek import FakeDeepSeek, error
from fim_replies import BALANCE, balance_reply

from deepseek_apps.backends import select
from deepseek_apps.catalog import catalogue


@pytest.fixture(autouse=True)
def hosted_at_the_fake(fake: FakeDeepSeek, monkeypatch: pytest.MonkeyPatch) -> None:
    there = replace(catalogue(), base_url=fake.url)
    monkeypatch.setattr(select, "catalogue", lambda: there)
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-of-mine")


def test_the_balance_is_a_table(cli, fake: FakeDeepSeek) -> None:
    fake.script.append(balance_reply())
    result = cli("balance")
    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()] == [
        ["currency", "left", "paid", "in", "granted"],
        ["CNY", "110.00", "100.00", "10.00"],
    ]
    assert fake.asked[0].headers["authorization"] == "Bearer sk-of-mine"


def test_the_balance_is_json(cli, fake: FakeDeepSeek) -> None:
    fake.script.append(balance_reply())
    assert json.loads(cli("balance", "--json").out) == {
        "available": True,
        "balances": [{"currency": "CNY", "total": "110.00", "granted": "10.00", "topped_up": "100.00"}],
    }


def test_an_empty_account_says_where_to_top_up(cli, fake: FakeDeepSeek) -> None:
    fake.script.append(balance_reply(BALANCE | {"is_available": False}))
    assert "top_up" in cli("balance").err


def test_without_a_key_it_says_where_keys_come_from(
    cli, fake: FakeDeepSeek, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY")
    result = cli("balance")
    assert result.code == 3
    assert "DEEPSEEK_API_KEY" in result.err
    assert fake.asked == []


def test_a_wrong_key_ends_with_the_code_of_authentication(cli, fake: FakeDeepSeek) -> None:
    fake.script.append(error(401, "Authentication Fails"))
    result = cli("balance")
    assert (result.code, result.out) == (3, "")
    assert "Authentication Fails" in result.err
