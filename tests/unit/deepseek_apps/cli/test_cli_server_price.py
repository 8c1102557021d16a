"""A server of the config file with a price: every verb and the client charge it, with one address or more."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_deepseek import USAGE, FakeDeepSeek

from deepseek_apps import DeepSeek
from deepseek_apps.cost import cost_of
from deepseek_apps.settings import load_settings

BILLED = (128 * 1 + 84 * 2 + 3 * 3) / 10**6


@pytest.fixture(autouse=True)
def _paid(fake: FakeDeepSeek) -> None:
    price = "price = {hit = 1, miss = 2, output = 3}"
    table = f'[servers.paid]\nbase_url = "{fake.url}"\nmodel = "m"\n{price}\n'
    Path(os.environ["DEEPSEEK_APPS_CONFIG"]).write_text(table, encoding="utf-8")


@pytest.mark.parametrize("backend", ["server:paid", "server"])
def test_ask_and_the_ledger_name_and_charge_it(cli, backend: str) -> None:
    assert "free" not in cli("ask", "hi", "--backend", backend, "--usage").err
    (row,) = json.loads(cli("cost", "--by", "backend", "--json").out)["rows"]
    assert (row["key"], float(row["cost"])) == ("server:paid", BILLED)


def test_the_client_charges_it() -> None:
    with DeepSeek(backend="server:paid") as client:
        cost = client.cost(USAGE, model="m")
        assert cost is not None
        assert float(cost.total) == BILLED
        assert client.cost(USAGE, model="m", currency="CNY") is None


def test_a_batch_charges_it_and_keeps_a_budget(cli, tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (tmp_path / "in.jsonl").write_text(json.dumps(line), encoding="utf-8")
    call = ("batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), "--backend", "server:paid")
    refused = cli(*call, "--budget", "0.000001")
    assert refused.code == 4
    assert float(json.loads(cli(*call, "--json").out)["cost_usd"]) == pytest.approx(BILLED, abs=1e-6)


def test_a_price_in_dollars_is_no_price_in_yuan() -> None:
    price = load_settings().servers["paid"].price
    at = datetime.now(UTC)
    assert cost_of(USAGE, model="m", at=at, currency="CNY", backend="server", price=price) is None
    free = cost_of(USAGE, model="m", at=at, currency="CNY", backend="server")
    assert free is not None
    assert free.total == 0
