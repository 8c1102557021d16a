"""What requests will take: real token counts, shared beginnings, the longest answers, both prices."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.backends import LocalBackend, ServerBackend, Target
from deepseek_apps.batch.estimate import Estimate, Range, estimate_requests, most_output, upper_cost
from deepseek_apps.batch.line_checks import BatchRequest
from deepseek_apps.batch.prefixes import SharedPrefixes
from deepseek_apps.batch.spending import count_prompt_tokens
from deepseek_apps.settings import ServerPrice

OFF_PEAK = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PEAK = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MANUAL = "The quick brown fox jumps over the lazy dog. " * 200


def chat(*texts: str, **body: Any) -> BatchRequest:
    messages = [
        {"role": "system" if n == 0 and len(texts) > 1 else "user", "content": t} for n, t in enumerate(texts)
    ]
    return BatchRequest("a", "chat/completions", {"model": "deepseek-flash", "messages": messages, **body})


def estimated(*requests: BatchRequest, at: datetime = OFF_PEAK, **options: Any) -> Estimate:
    options = {"count": count_prompt_tokens, "default_model": "deepseek-flash"} | options
    return estimate_requests(requests, at=at, **options)


def test_prompts_are_counted_with_the_real_tokenizer() -> None:
    from deepseek_apps.tokens import count_body

    request = chat("You are brief.", "苹果是什么？")
    assert count_prompt_tokens(request, "deepseek-flash") == count_body(request.body)
    fim = BatchRequest("a", "completions", {"prompt": "def add(a, b):\n    ", "suffix": "\n"})
    assert 5 < count_prompt_tokens(fim, "deepseek-flash") < 15
    items = BatchRequest("a", "responses", {"input": [{"role": "user", "content": "Hello"}]})
    assert count_prompt_tokens(items, "deepseek-flash") > 1


def test_shared_beginnings_are_found_in_whole_units() -> None:
    (row,) = estimated(chat(MANUAL, "First?"), chat(MANUAL, "Second?"), chat("Other")).models
    one = count_prompt_tokens(chat(MANUAL, "First?"), "deepseek-flash")
    assert row.shared_tokens % 128 == 0
    assert one - 256 <= row.shared_tokens < one


def test_what_comes_before_the_messages_moves_the_beginning() -> None:
    prefixes = SharedPrefixes()
    assert prefixes.add(chat(MANUAL, "a"), 2000) == 0
    assert prefixes.add(chat(MANUAL, "a", reasoning_effort="max"), 2000) == 0
    assert prefixes.add(chat(MANUAL, "b"), 2000) > 1500


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 65536),
        ({"reasoning_effort": "max"}, 131072),
        ({"thinking": {"type": "disabled"}}, 8192),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 60}, 60),
        ({"max_tokens": 10**9}, 393216),
        ({"model": "some-servers-model"}, 8192),
    ],
)
def test_the_longest_answer_is_the_one_asked_for_or_the_apis_own(body: dict[str, Any], tokens: int) -> None:
    request = chat("x", **body)
    assert most_output(request, str(request.model), 10) == tokens


def test_an_answer_in_the_middle_is_short_and_none_outgrows_the_context() -> None:
    assert most_output(BatchRequest("a", "completions", {"prompt": "x"}), "deepseek-flash", 1) == 4096
    assert most_output(chat("x"), "deepseek-flash", 1048576 - 100) == 100


def test_prices_are_a_range_in_and_out_of_peak_hours() -> None:
    (row,) = estimated(chat("x", max_tokens=1000), count=lambda request, model: 1_000_000).models
    assert row.off_peak is not None
    assert row.peak is not None
    assert (row.off_peak.low, row.off_peak.high) == (Decimal("0.15"), Decimal("0.1506"))
    assert (row.peak.low, row.peak.high) == (Decimal("0.30"), Decimal("0.3012"))


def test_now_is_named_with_the_time_it_lasts() -> None:
    assert estimated(chat("x"), at=PEAK).is_peak
    assert estimated(chat("x"), at=PEAK).until == PEAK + timedelta(hours=2)
    assert not estimated(chat("x")).is_peak
    (row,) = estimated(chat("x"), at=PEAK).models
    assert row.peak is not None
    assert row.off_peak is not None
    assert row.peak.high == 2 * row.off_peak.high


def test_models_are_told_apart_and_unknown_ones_have_no_price() -> None:
    rows = estimated(chat("x"), chat("x", model="my-own"), chat("x")).models
    assert [(row.model, row.requests) for row in rows] == [("deepseek-flash", 2), ("my-own", 1)]
    assert rows[1].off_peak is None
    local = Target(label="local", replicas=(LocalBackend(default_model="m"),))
    assert estimated(chat("x"), target=local).models[0].peak.high == 0


def test_a_server_with_a_price_is_estimated_at_it() -> None:
    replicas = (ServerBackend(base_url="http://127.0.0.1:9"),)
    paid = Target(label="server:paid", replicas=replicas, price=ServerPrice(output=2))
    (row,) = estimated(chat("x", max_tokens=1_000_000), target=paid).models
    assert row.off_peak == row.peak == Range(Decimal(0), Decimal(row.most_output_tokens * 2) / 10**6)
    assert upper_cost(chat("x", max_tokens=500_000), "m", 1, PEAK, paid) == 1


def test_answers_can_be_assumed_shorter() -> None:
    rows = estimated(chat("x"), chat("x", max_tokens=10), answer_tokens=100).models
    assert rows[0].most_output_tokens == 110


def test_the_most_a_request_can_cost() -> None:
    assert upper_cost(chat("x", max_tokens=0), "deepseek-flash", 1_000_000, PEAK) == Decimal("0.30")
    assert upper_cost(chat("x"), "my-own", 1_000_000, PEAK) == 0


@given(st.lists(st.text(max_size=900), min_size=1, max_size=6), st.integers(0, 5000))
def test_no_more_is_shared_than_there_is(texts: list[str], tokens: int) -> None:
    prefixes = SharedPrefixes()
    for text in [*texts, *texts]:
        shared = prefixes.add(chat(text), tokens)
        assert 0 <= shared <= tokens
        assert shared % 128 == 0


def test_a_prompt_is_one_text_in_the_order_it_is_rendered() -> None:
    from deepseek_apps.batch.prefixes import prompt_text

    text = prompt_text(chat("system", "user", tools=[{"name": "t"}]))
    assert json.loads(text.split("\n")[0]) == {"tools": [{"name": "t"}]}
    assert text.index("system") < text.index("user")
