"""Costs add up, grow with what is used, and do not depend on whose clock tells the hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.catalog import price_of
from deepseek_apps.cost import TokenCounts, cost_of_counts, is_peak, next_change, next_off_peak

MODELS = st.sampled_from(["deepseek-flash", "deepseek-v4-pro"])
CURRENCIES = st.sampled_from(["USD", "CNY"])
TOKENS = st.integers(0, 2_000_000)
INSTANTS = st.datetimes(
    datetime(2026, 9, 11),
    datetime(2029, 12, 1),
    timezones=st.just(UTC),
)
ZONES = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))


@st.composite
def counts(draw: st.DrawFn) -> TokenCounts:
    prompt, output = draw(TOKENS), draw(TOKENS)
    return TokenCounts(prompt=prompt, hit=draw(st.integers(0, prompt)), output=output)


@given(counts(), MODELS, CURRENCIES, INSTANTS, ZONES)
def test_parts_are_the_total_and_clocks_agree(counts, model, currency, at, zone) -> None:
    cost = cost_of_counts(counts, model=model, at=at, currency=currency)
    row = price_of(model, at, currency=currency)
    price = row.peak if is_peak(at) else row.off_peak
    million = Decimal(10) ** 6
    exact = (counts.hit * price.hit + counts.miss * price.miss + counts.output * price.output) / million
    assert cost.total == cost.hit + cost.miss + cost.output == exact
    assert cost == cost_of_counts(counts, model=model, at=at.astimezone(zone), currency=currency)


@given(counts(), MODELS, INSTANTS, st.integers(1, 1000))
def test_more_tokens_cost_more_and_cached_ones_less(counts, model, at, more) -> None:
    def total(**changes: int) -> Decimal:
        fields = {"prompt": counts.prompt, "hit": counts.hit, "output": counts.output}
        return cost_of_counts(TokenCounts(**fields | changes), model=model, at=at).total

    assert total(prompt=counts.prompt + more) > total()
    assert total(output=counts.output + more) > total()
    assert total(hit=0) >= total()


@given(INSTANTS, ZONES)
def test_waiting_for_the_cheap_hour_ends_there_and_not_later(at, zone) -> None:
    then = next_off_peak(at.astimezone(zone))
    assert then >= at
    assert not is_peak(then)
    assert then == at or is_peak(then - timedelta(microseconds=1))
    assert then - at <= timedelta(hours=4)


@given(INSTANTS)
def test_the_period_holds_until_it_changes(at) -> None:
    change = next_change(at)
    assert change > at
    assert is_peak(change) != is_peak(at)
    assert is_peak(change - timedelta(microseconds=1)) == is_peak(at)
