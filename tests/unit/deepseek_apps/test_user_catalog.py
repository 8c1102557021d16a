"""The user's own catalog.toml: what it adds, what it takes the place of, and how its mistakes are named."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from deepseek_apps import SettingsError
from deepseek_apps.catalog import canonical_name, catalogue, limit, price_of
from deepseek_apps.catalog.pricing import is_holiday
from deepseek_apps.cost import cost_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PRICE = 'off_peak = { hit = 0.1, miss = 1, output = 2 }\ncurrency = "USD"\n'
USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 0}


@pytest.fixture
def write(tmp_path: Path):
    """Write the file beside the config file, where it is found without being named."""

    def write(text: str) -> Path:
        path = tmp_path / "catalog.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_price_without_a_date_replaces_ours(write) -> None:
    path = write(f'[[prices]]\nmodel = "deepseek-flash"\n{PRICE}')
    row = price_of("deepseek-flash", NOW)
    assert row is not None
    assert (row.off_peak.miss, row.peak, row.source) == (Decimal(1), None, str(path))
    yuan = price_of("deepseek-flash", NOW, currency="CNY")
    assert yuan is not None
    assert yuan.off_peak.miss == 1


def test_a_price_with_a_date_leaves_what_was_before(write) -> None:
    write(f'[[prices]]\nmodel = "deepseek-flash"\nsince = 2026-11-01T00:00:00Z\n{PRICE}')
    before = price_of("deepseek-flash", datetime(2026, 10, 20, tzinfo=UTC))
    after = price_of("deepseek-flash", NOW)
    assert before is not None
    assert after is not None
    assert (before.off_peak.miss, after.off_peak.miss) == (Decimal("0.15"), Decimal(1))


def test_a_servers_model_can_have_a_price(write) -> None:
    write(f'[[prices]]\nmodel = "my-model"\n{PRICE}')
    for backend in ("server", None):
        cost = cost_of(USAGE, model="my-model", at=NOW, backend=backend)
        assert cost is not None
        assert cost.total == 1
    assert cost_of(USAGE, model="my-model", at=NOW, backend="hosted") is None


def test_models_aliases_limits_and_holidays_are_added(write) -> None:
    write(
        '[[models]]\nid = "deepseek-v5"\ncontext = 10\nmax_output = 5\n'
        '[[models]]\nid = "deepseek-flash"\ncontext = 99\n'
        '[[aliases]]\nname = "deepseek-chat"\nmodel = "deepseek-v5"\n'
        '[[limits]]\nname = "concurrency"\nmodel = "deepseek-flash"\nvalue = 9\n'
        "[[holidays]]\nyear = 2027\ndays = [[2027-01-01, 2027-01-03]]\n"
    )
    facts = catalogue()
    assert facts.models["deepseek-v5"].context == 10
    assert (facts.models["deepseek-flash"].context, facts.models["deepseek-flash"].images) == (99, True)
    assert canonical_name("deepseek-chat") == "deepseek-v5"
    assert limit("concurrency", "deepseek-flash") == 9
    assert is_holiday(date(2027, 1, 2))
    assert is_holiday(date(2027, 1, 4)) is False


def test_a_changed_file_counts_at_once(write) -> None:
    write('[[limits]]\nname = "concurrency"\nmodel = "deepseek-flash"\nvalue = 9\n')
    assert limit("concurrency", "deepseek-flash") == 9
    write('[[limits]]\nname = "concurrency"\nmodel = "deepseek-flash"\nvalue = 10\n')
    assert limit("concurrency", "deepseek-flash") == 10


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[prices]]\nmodel = 'x'\n" + PRICE.replace("miss = 1", "miss = -1"), "off_peak.miss"),
        ("[[prices]]\nmodel = 'x'\n" + PRICE.replace("USD", "EUR"), "currency"),
        ("[[prices]]\nmodel = 'x'\nsince = 2026-01-01T00:00:00\n" + PRICE, "since"),
        ("[[limits]]\nname = 'concurrency'\nvalue = 1\n[[limits]]\nname = 'x'\n", "row 2"),
        ("[[models]]\nid = 'm'\ncontext = 1\nmax_output = 1\nspeed = 3\n", "speed"),
        ("[[model]]\nid = 'm'\n", "'model'"),
        ("[prices]\nmodel = 'x'\n", "no list"),
        ("[[prices", "cannot read"),
    ],
)
def test_a_bad_row_is_named(write, text: str, named: str) -> None:
    path = write(text)
    with pytest.raises(SettingsError, match=named) as caught:
        (catalogue(), price_of("x", NOW))
    assert str(path) in str(caught.value)
    assert caught.value.help_message


def test_a_named_file_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_CATALOG", os.fspath(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match=r"none\.toml"):
        catalogue()
