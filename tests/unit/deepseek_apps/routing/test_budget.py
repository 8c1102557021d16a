"""Budgets stop a call before it is made: of a run and of a day, over threads, tasks and processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from decimal import Decimal
from pathlib import Path

import pytest
from fake_deepseek import error

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError
from deepseek_apps.errors import BudgetExceededError
from deepseek_apps.routing.ledger import Ledger, from_pico
from deepseek_apps.routing.run import current_run, run

MESSAGES = [{"role": "user", "content": "Hello"}]
ASK = {"model": "deepseek-flash", "messages": MESSAGES, "max_tokens": 100}


@pytest.fixture
def client(fake):
    with DeepSeek(backend="hosted", base_url=fake.url, api_key="sk-test", max_retries=2) as client:
        yield client


def ask_for_ever(client: DeepSeek) -> None:
    while True:
        client.chat.completions.create(**ASK)


def reservations() -> int:
    with Ledger() as ledger:
        return int(ledger.rows("SELECT COUNT(*) FROM reservations")[0][0])


def test_a_call_beyond_the_budget_is_not_made(client, fake) -> None:
    with run(budget=0.0000001, name="tiny"), pytest.raises(BudgetExceededError) as caught:
        client.chat.completions.create(**ASK)
    assert fake.asked == []
    for part in ("'tiny'", "budget of 1E-7 USD", "spent 0.000000", "could cost 0.000"):
        assert part in str(caught.value)


def test_a_run_stops_when_its_budget_is_used_up(client, fake) -> None:
    with run(budget="0.0003") as this, pytest.raises(BudgetExceededError):
        ask_for_ever(client)
    assert len(fake.asked) == this.calls > 3
    assert 0 < this.spent <= Decimal("0.0003")
    assert this.reserved == 0


def test_failures_give_back_what_was_set_aside(client, fake) -> None:
    fake.script += [error(400, "bad")] * 3
    with run(budget="0.001") as this:
        for _ in range(3):
            with pytest.raises(Exception, match="bad"):
                client.chat.completions.create(**ASK)
    assert (this.reserved, this.spent, this.calls) == (0, 0, 3)


def test_a_run_within_a_run_uses_both_budgets(client) -> None:
    with run(budget="0.0001"), run(budget=1) as inner, pytest.raises(BudgetExceededError):
        ask_for_ever(client)
    assert inner.reserved == 0


def test_without_max_tokens_a_usual_answer_is_assumed(client, fake) -> None:
    without = {key: ASK[key] for key in ("model", "messages")}
    with run(budget="0.001"), pytest.raises(BudgetExceededError):
        client.chat.completions.create(**without)
    with run(budget="0.05"):
        client.chat.completions.create(**without)
    assert len(fake.asked) == 1


def test_servers_cost_nothing_unless_they_have_a_price(fake, tmp_path: Path) -> None:
    with DeepSeek(backend="server", base_url=fake.url, model="m") as client, run(budget=0):
        client.chat.completions.create(**{**ASK, "model": "m"})
    prices = 'model = "m"\ncurrency = "USD"\noff_peak = { hit = 1, miss = 1, output = 1 }\n'
    (tmp_path / "catalog.toml").write_text(f"[[prices]]\n{prices}", encoding="utf-8")
    server = DeepSeek(backend="server", base_url=fake.url, model="m")
    with server as client, run(budget=0), pytest.raises(BudgetExceededError):
        client.chat.completions.create(**{**ASK, "model": "m"})


def test_a_model_without_a_price_has_no_budget(client) -> None:
    with run(budget=1), pytest.raises(BudgetExceededError, match="price of 'deepseek-v9'"):
        client.chat.completions.create(**{**ASK, "model": "deepseek-v9"})


@pytest.mark.parametrize("budget", [-1, "much", float("nan"), float("inf")])
def test_a_budget_has_to_be_an_amount(budget: float | str) -> None:
    with pytest.raises(SettingsError, match="budget="), run(budget=budget):
        pass


def test_threads_with_the_callers_context_share_its_run(client) -> None:
    with run(budget="0.0002") as this, ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(copy_context().run, client.chat.completions.create, **ASK) for _ in range(16)]
        refused = sum(isinstance(task.exception(), BudgetExceededError) for task in tasks)
    assert 0 < refused < 16
    assert this.calls == 16 - refused
    assert this.spent <= Decimal("0.0002")
    assert current_run() is None


async def test_calls_under_way_count(fake) -> None:
    async with AsyncDeepSeek(backend="hosted", base_url=fake.url, api_key="k", max_retries=0) as client:
        with run(budget="0.0002") as this:
            calls = [client.chat.completions.create(**ASK) for _ in range(12)]
            results = await asyncio.gather(*calls, return_exceptions=True)
    refused = sum(isinstance(result, BudgetExceededError) for result in results)
    assert 0 < refused < 12
    assert (this.calls, this.reserved) == (12 - refused, 0)


def test_the_day_has_a_budget_of_its_own(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_BUDGET_PER_DAY", "0.0003")
    hosted = DeepSeek(backend="hosted", base_url=fake.url, api_key="k")
    with hosted as client, pytest.raises(BudgetExceededError, match="today has spent"):
        ask_for_ever(client)
    with Ledger() as ledger:
        assert 0 < ledger.spent_since(0) <= Decimal("0.0003")
    assert reservations() == 0
    assert len(fake.asked) > 1


def test_a_dead_process_leaves_nothing_set_aside(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        code = (
            "import sys; from decimal import Decimal; from pathlib import Path\n"
            "from deepseek_apps.routing.ledger import Ledger\n"
            "Ledger(Path(sys.argv[1])).reserve(Decimal(1), budget=Decimal(1), since=0)"
        )
        subprocess.run([sys.executable, "-c", code, str(ledger.path)], check=True, timeout=30)
        assert ledger.reserve(Decimal(1), budget=Decimal(1), since=0)
        with pytest.raises(BudgetExceededError, match="set aside"):
            ledger.reserve(Decimal(1), budget=Decimal(1), since=0)


CALLER = """
import sys
from deepseek_apps import http_client
from deepseek_apps.errors import BudgetExceededError
body = {"model": "deepseek-flash", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
with http_client("hosted", base_url=sys.argv[1], api_key="k") as client:
    try:
        while True:
            client.post("chat/completions", json=body)
    except BudgetExceededError:
        pass
"""


def test_processes_share_the_days_budget(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_BUDGET_PER_DAY", "0.001")
    command = [sys.executable, "-c", CALLER, fake.url]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    with Ledger() as ledger:
        ((calls, usd),) = ledger.rows("SELECT COUNT(*), SUM(usd) FROM calls")
    assert len(fake.asked) == calls > 3
    assert from_pico(usd) <= Decimal("0.001")
    assert reservations() == 0
