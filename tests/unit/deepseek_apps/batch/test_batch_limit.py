"""How many requests run at once: what the backend says, and what it shows."""

from __future__ import annotations

import asyncio

import pytest
from batch_server import OUT_OF_SLOTS, BatchServer, batch_file
from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps import async_http_client
from deepseek_apps.batch.concurrency import AdaptiveLimit, named_limit
from deepseek_apps.batch.options import BatchOptions, default_concurrency
from deepseek_apps.errors import SettingsError

LOW_BALANCE = OUT_OF_SLOTS.format(now=40, most=39)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ok", "429", LOW_BALANCE, OUT_OF_SLOTS.format(now=1, most=0)]), st.floats(0, 90)
    )
)


def test_the_number_is_read_from_the_text() -> None:
    assert named_limit(LOW_BALANCE) == 39
    assert named_limit("Rate limit reached for TPM") is None


def test_the_number_is_obeyed_at_once_and_for_a_while() -> None:
    limit = AdaptiveLimit(100)
    for _ in range(200):
        limit.succeeded(0.0, 99)
    limit.rejected(LOW_BALANCE, sent_at=0.0, now=1.0)
    for _ in range(200):
        limit.succeeded(30.0, 99)
    assert limit.current == 39
    for _ in range(50):
        limit.succeeded(90.0, 99)  # money may have come in
    assert 39 < limit.current < 45


def test_what_is_not_used_does_not_grow() -> None:
    limit = AdaptiveLimit(64)
    for _ in range(100):
        limit.succeeded(0.0, 2)
    assert limit.current == 8


def test_refusals_of_one_burst_count_once() -> None:
    limit = AdaptiveLimit(64)
    for _ in range(100):
        limit.succeeded(0.0, 99)
    for number in range(20):
        limit.rejected("429", sent_at=1.0, now=2.0 + number)
    assert limit.current == 32


@given(ceiling=st.integers(1, 500), events=EVENTS)
def test_it_stays_between_one_and_the_ceiling(ceiling: int, events: list[tuple[str, float]]) -> None:
    limit, now = AdaptiveLimit(ceiling), 0.0
    for event, seconds in events:
        now += seconds
        if event == "ok":
            limit.succeeded(now, ceiling)
        else:
            limit.rejected(event, sent_at=now - seconds, now=now)
        named = named_limit(event)
        assert 1 <= limit.current <= min(ceiling, named or ceiling)


@pytest.mark.parametrize("names_limit", [True, False])
async def test_it_finds_what_a_server_allows(run_once, names_limit: bool) -> None:
    async with BatchServer(most=6, names_limit=names_limit, seconds=0.02) as server:
        summary = await run_once(server, batch_file(150), concurrency=32)
    assert (summary.answered, summary.failed) == (150, 0)
    assert 3 <= summary.limit <= 9
    assert server.refused <= 60
    assert max(server.asked.values()) == 1


async def test_a_client_sends_more_than_a_hundred_at_once() -> None:
    body = {"messages": [{"role": "user", "content": "x"}]}
    async with BatchServer(seconds=0.5) as server, async_http_client("server", base_url=server.url) as client:
        await asyncio.gather(*(client.post("chat/completions", json=body) for _ in range(120)))
    assert server.peak > 100


def test_the_default_follows_the_account_and_the_machine() -> None:
    assert default_concurrency("local", ["deepseek-flash"]) == 4
    assert default_concurrency("hosted", ["deepseek-v4-pro", ""]) == 64
    assert default_concurrency("server", ["anything"]) == 64


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"max_retries": -1}, {"budget": 0}])
def test_options_out_of_range_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        BatchOptions(**wrong)
