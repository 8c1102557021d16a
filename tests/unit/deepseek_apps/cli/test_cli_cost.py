"""`cost`, `cost prices` and the cost that `ask` shows, over a ledger with a known content."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from fake_deepseek import FakeDeepSeek, fake_deepseek

from deepseek_apps.cli.cost_view import amount, notes
from deepseek_apps.routing.ledger import CallRecord, Ledger, ledger_path
from deepseek_apps.routing.spending import Spending


@pytest.fixture
def filled(private_directories: None) -> None:
    now = datetime.now().astimezone().replace(hour=12, minute=0)
    with Ledger() as ledger:
        for days, usd in ((0, 10**12), (2, 2 * 10**12), (20, 4 * 10**12)):
            ledger.add(
                CallRecord(
                    at=(now - timedelta(days=days)).timestamp(),
                    backend="hosted",
                    model="deepseek-flash",
                    recipe="rag",
                    prompt=1000,
                    hit=250,
                    output=10,
                    usd=usd,
                    cny=7 * usd,
                    saved_cache_usd=usd // 2,
                    status=200,
                )
            )


def cells(line: str) -> list[str]:
    return [cell for cell in line.split("  ") if cell.strip()]


def test_three_spans_and_a_chart(cli, filled) -> None:
    result = cli("cost")
    lines = result.out.splitlines()
    assert [cell.strip() for cell in cells(lines[2])] == [
        "last 7 days", "2", "2,000", "25 %", "20", "$3.00", "$1.50", "$0.00",
    ]  # fmt: skip
    assert "Spent each day" in lines
    assert sum("#" in line or "█" in line for line in lines) == 3
    assert (result.err, result.code) == ("", 0)


def test_groups_have_a_total(cli, filled) -> None:
    result = cli("cost", "--by", "recipe", "--since", "7d", "--currency", "CNY")
    rag, total = (cells(line) for line in result.out.splitlines()[1:3])
    assert (rag[0], total[0]) == ("rag", "total")
    assert "¥21.00" in result.out


def test_csv_and_json_say_the_same(cli, filled) -> None:
    (row,) = csv.DictReader(io.StringIO(cli("cost", "--by", "model", "--csv").out))
    value = json.loads(cli("cost", "--by", "model", "--json").out)
    assert row["model"] == value["rows"][0]["key"] == "deepseek-flash"
    assert Decimal(row["cost"]) == Decimal(value["rows"][0]["cost"]) == Decimal(value["total"]["cost"]) == 7
    assert value["currency"] == "USD"


def test_days_are_chosen(cli, filled) -> None:
    day = (datetime.now().astimezone() - timedelta(days=20)).date().isoformat()
    value = json.loads(cli("cost", "--since", day, "--until", day, "--json").out)
    assert (value["since"], value["until"], value["total"]["cost"]) == (day, day, "4")


def test_an_empty_ledger_is_no_file_and_no_error(cli) -> None:
    result = cli("cost")
    assert (result.out, result.code) == ("", 0)
    assert "no calls are recorded" in result.err
    assert not ledger_path().exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--since", "yesterdayish"), "'yesterdayish' is no day"),
        (("--since", "2026-11-10", "--until", "2026-11-01"), "before"),
        (("--until", "99999999999d"), "is no day"),
    ],
)
def test_unusable_days_are_named(cli, options, problem) -> None:
    result = cli("cost", *options)
    assert result.code == 2
    assert problem in result.err


def test_prices_say_when_they_change(cli) -> None:
    result = cli("cost", "prices")
    assert "deepseek-flash" in result.out
    assert ", then " in result.err
    value = json.loads(cli("cost", "prices", "--json", "--currency", "CNY").out)
    flash = next(row for row in value["models"] if row["model"] == "deepseek-flash")
    assert flash["peak"] == {"hit": "0.04", "miss": "2", "output": "8"}
    assert datetime.fromisoformat(value["changes_at"]) > datetime.now().astimezone()


def test_ask_shows_its_cost(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_deepseek() as fake:
        ask_hosted(monkeypatch, fake)
        spent = cli("ask", "hi", "--usage")
        value = json.loads(cli("ask", "hi", "--json").out)
    assert " · $0.0000" in spent.err
    assert Decimal(value["cost"]["amount"]) > 0
    assert "today" in cli("cost").out


def ask_hosted(monkeypatch: pytest.MonkeyPatch, fake: FakeDeepSeek) -> None:
    """Let the fake be the hosted API."""
    from pydantic import SecretStr

    from deepseek_apps import backend_client
    from deepseek_apps.backends import HostedBackend

    hosted = HostedBackend(base_url=fake.url, api_key=SecretStr("k"))
    monkeypatch.setattr(backend_client, "select_route", lambda *args, **options: hosted)


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "$0.00"), ("1234.5", "$1,234.50"), ("0.5", "$0.500"), ("0.0000148", "$0.0000148")],
)
def test_small_amounts_keep_their_digits(value: str, text: str) -> None:
    assert amount(Decimal(value), "USD") == text


def test_what_is_missing_in_a_sum_is_said() -> None:
    remarks = notes(Spending(key="", calls=9, failed=1, estimated=2, unpriced=3))
    assert [remark.split()[0] for remark in remarks] == ["1", "2", "3"]
