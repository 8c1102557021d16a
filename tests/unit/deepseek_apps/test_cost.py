"""What a call costs: exact amounts, the hour, holidays, history, and every form that usage comes in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from deepseek_apps import SettingsError
from deepseek_apps.catalog import limit, price_history, price_of
from deepseek_apps.catalog.hours import is_peak_certain
from deepseek_apps.catalog.pricing import is_holiday
from deepseek_apps.cost import TokenCounts, cost_of, estimate_cost, is_peak, next_change, next_off_peak

BEIJING = timezone(timedelta(hours=8))
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_cache_hit_tokens": 600}
OFF_PEAK = datetime(2026, 11, 23, 20, tzinfo=BEIJING)
PEAK = datetime(2026, 11, 23, 10, tzinfo=BEIJING)


def beijing(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BEIJING)


def test_an_answer_is_priced_part_by_part() -> None:
    cost = cost_of(USAGE, model="deepseek-flash", at=OFF_PEAK)
    assert cost is not None
    assert (cost.hit, cost.miss, cost.output) == tuple(map(Decimal, ("0.0000018", "0.00006", "0.00006")))
    assert cost.total == Decimal("0.0001218")
    assert cost.saved_by_cache == 600 * (Decimal("0.15") - Decimal("0.003")) / 10**6
    assert (cost.period, cost.saved_off_peak, cost.estimated) == ("off-peak", cost.total, False)


def test_peak_hours_cost_twice() -> None:
    cheap = cost_of(USAGE, model="deepseek-v4-pro", at=OFF_PEAK, currency="CNY")
    dear = cost_of(USAGE, model="deepseek-v4-pro", at=PEAK, currency="CNY")
    assert cheap is not None
    assert dear is not None
    assert dear.total == 2 * cheap.total
    assert (dear.period, dear.saved_off_peak) == ("peak", 0)


@pytest.mark.parametrize(
    ("when", "peak"),
    [
        ("2026-11-23 08:59:59", False),
        ("2026-11-23 09:00:00", True),
        ("2026-11-23 11:59:59", True),
        ("2026-11-23 12:00:00", False),
        ("2026-11-23 14:00:00", True),
        ("2026-11-23 18:00:00", False),
        ("2026-11-21 10:00:00", False),  # a Saturday
        ("2026-10-10 10:00:00", False),  # a Saturday that is worked in exchange for a holiday
        ("2026-10-01 10:00:00", False),  # National Day
        ("2026-10-08 10:00:00", True),  # the first day after it
        ("2026-02-16 10:00:00", False),  # New Year's Eve of the lunar calendar
    ],
)
def test_peak_hours_are_those_of_working_days_in_beijing(when: str, peak: bool) -> None:
    assert is_peak(beijing(when)) is peak
    assert is_peak(beijing(when).astimezone(timezone(timedelta(hours=-5)))) is peak


def test_the_next_cheap_hour_keeps_the_time_zone_it_was_asked_in() -> None:
    assert next_off_peak(PEAK.astimezone(UTC)).isoformat() == "2026-11-23T04:00:00+00:00"
    assert next_off_peak(OFF_PEAK) == OFF_PEAK


def test_the_price_changes_after_a_long_holiday_on_the_first_working_morning() -> None:
    assert next_change(beijing("2026-09-30 18:00")) == beijing("2026-10-08 09:00")


def test_a_year_without_known_holidays_is_taken_to_be_dear_and_says_so() -> None:
    morning = beijing("2030-01-01 10:00")
    cost = cost_of(USAGE, model="deepseek-flash", at=morning)
    assert cost is not None
    assert (cost.period, cost.estimated) == ("peak", True)
    assert not is_peak_certain(morning)
    assert is_peak_certain(beijing("2030-01-01 20:00"))


@pytest.mark.parametrize(("year", "weekdays_off"), [(2025, 18), (2026, 19)])
def test_holidays_take_as_many_weekdays_as_the_notices_say(year: int, weekdays_off: int) -> None:
    days = [datetime(year, 1, 1, tzinfo=UTC).date() + timedelta(days=n) for n in range(365)]
    assert sum(bool(is_holiday(day)) and day.weekday() < 5 for day in days) == weekdays_off


def test_history_has_its_own_prices() -> None:
    july, august = beijing("2026-07-01 10:00"), beijing("2026-08-20 10:00")
    flat = cost_of(USAGE, model="deepseek-chat", at=july)
    assert flat is not None
    assert (flat.period, flat.saved_off_peak) == ("flat", 0)
    assert price_of("deepseek-flash", august).peak.output == Decimal("1.32")  # type: ignore[union-attr]
    # Not published anywhere we know of, so not made up.
    assert cost_of(USAGE, model="deepseek-flash", at=august, currency="CNY") is None
    assert cost_of(USAGE, model="deepseek-flash", at=beijing("2025-01-01 10:00")) is None


def test_rows_of_one_model_begin_at_different_times() -> None:
    keys = [(row.model, row.currency, row.since) for row in price_history()]
    assert len(set(keys)) == len(keys)


def test_local_calls_are_free_and_unknown_models_have_no_price() -> None:
    local = cost_of(USAGE, model="anything", at=PEAK, backend="local")
    assert local is not None
    assert local.total == 0
    assert cost_of(USAGE, model="my-model", at=PEAK) is None
    # A server is not paid what DeepSeek charges, whatever its model is called.
    server = cost_of(USAGE, model="deepseek-flash", at=PEAK, backend="server")
    assert server is not None
    assert server.total == 0


def test_an_estimate_is_the_cost_of_the_same_counts() -> None:
    estimate = estimate_cost("deepseek-flash", 1000, 100, OFF_PEAK, cached_tokens=600)
    assert estimate == cost_of(USAGE, model="deepseek-flash", at=OFF_PEAK)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(SettingsError, match="time zone"):
        cost_of(USAGE, model="deepseek-flash", at=datetime(2026, 11, 23))


@pytest.mark.parametrize(
    "usage",
    [
        {
            "prompt_tokens": 10,
            "completion_tokens": 3,
            "prompt_cache_hit_tokens": 4,
            "prompt_cache_miss_tokens": 6,
        },
        {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
        {
            "prompt_tokens": 10,
            "completion_tokens": 3,
            "prompt_cache_hit_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
        {"input_tokens": 10, "output_tokens": 3, "input_token_details": {"cache_read": 4}},
        {"input_tokens": 10, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}},
        {
            "input_tokens": 6,
            "output_tokens": 3,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 0,
        },
    ],
    ids=["deepseek", "openai", "both", "langchain", "responses", "messages"],
)
def test_every_form_of_usage_says_the_same(usage: dict[str, object]) -> None:
    assert TokenCounts.from_usage(usage) == TokenCounts(prompt=10, hit=4, output=3)


def test_nonsense_in_usage_counts_as_nothing() -> None:
    usage = {"prompt_tokens": None, "completion_tokens": "3", "prompt_tokens_details": 5, "x": True}
    assert TokenCounts.from_usage(usage) == TokenCounts()


def test_limits_are_by_model_or_for_all() -> None:
    assert (limit("concurrency", "deepseek-v4-flash"), limit("concurrency", "deepseek-v4-pro")) == (2500, 500)
    assert limit("fim_max_tokens", "deepseek-flash") == 4096
    with pytest.raises(SettingsError, match="no limit 'speed'"):
        limit("speed")
