"""The ledger and budgets over a router: who is written down, and whose price counts."""

from __future__ import annotations

from decimal import Decimal

import httpx2
import pytest
from fake_deepseek import FakeDeepSeek, error
from pydantic import SecretStr

from deepseek_apps.backend_client import BackendClient
from deepseek_apps.backends import HostedBackend, ServerBackend, Target
from deepseek_apps.errors import BudgetExceededError
from deepseek_apps.routing.ledger import Ledger, from_pico
from deepseek_apps.routing.routed import RoutedBackend
from deepseek_apps.routing.run import run
from deepseek_apps.settings import ServerPrice

BODY = {"model": "deepseek-flash", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
GONE = "http://127.0.0.1:9"


def hosted(fake: FakeDeepSeek) -> Target:
    return Target(label="hosted", replicas=(HostedBackend(base_url=fake.url, api_key=SecretStr("k")),))


def server(url: str, price: ServerPrice | None = None) -> Target:
    replica = ServerBackend(base_url=url, default_model="m", flavor="openai")
    return Target(label="server:gpu", replicas=(replica,), price=price)


def ask(*targets: Target) -> httpx2.Response:
    with BackendClient(RoutedBackend.of("auto", targets)) as client:
        return client.post("chat/completions", json=BODY)


def rows(names: str) -> list[tuple[object, ...]]:
    with Ledger() as ledger:
        return ledger.rows(f"SELECT {names} FROM calls ORDER BY id")


def test_the_row_names_who_answered_at_last(fake) -> None:
    reply = ask(server(GONE), hosted(fake))
    assert reply.headers["x-deepseek-apps-cost"]
    ((backend, address, usd, route),) = rows("backend, server, usd, route")
    assert (backend, address, route) == ("hosted", "", reply.headers["x-deepseek-apps-route"])
    assert usd > 0


def test_a_server_costs_what_the_config_file_says(fake) -> None:
    price = ServerPrice(hit=1, miss=2, output=3)
    ask(server(fake.url, price), hosted(fake))
    ((backend, address, usd),) = rows("backend, server, usd")
    assert (backend, address) == ("server:gpu", fake.url.removeprefix("http://"))
    assert from_pico(usd) == Decimal(128 * 1 + 84 * 2 + 3 * 3) / 10**6


def test_a_budget_is_asked_again_before_a_dearer_backend(fake) -> None:
    with run(budget=0) as this:
        reply = ask(server(fake.url), hosted(fake))
        assert reply.status_code == 200
    with run(budget=0), pytest.raises(BudgetExceededError):
        ask(server(GONE), hosted(fake))
    assert [asked.method for asked in fake.asked].count("POST") == this.calls == 1


def test_a_call_that_the_first_refused_is_settled_at_the_seconds_price(fake) -> None:
    fake.script.append(error(503, "busy"))
    with run(budget="0.001") as this:
        ask(server(fake.url), hosted(fake))
    assert (this.calls, this.reserved) == (1, 0)
    assert from_pico(rows("usd")[0][0]) == this.spent > 0
