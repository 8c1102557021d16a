"""When guessing pays: learned chances, learned costs, and the lengths that follow from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local_backend.engine.acceptance import Acceptance
from local_backend.engine.draft_lengths import draft_lengths
from local_backend.engine.pass_costs import SAMPLES, STALE, PassCosts
from local_backend.engine.speculator import LOOKUP_SHARES


def test_longer_matches_are_trusted_more_beforehand() -> None:
    chances = [Acceptance(LOOKUP_SHARES).chance(length) for length in range(2, 17)]
    assert chances == sorted(chances)
    assert 0.2 < chances[0] < chances[-1] < 1


def test_chances_of_a_whole_draft_multiply() -> None:
    acceptance = Acceptance(LOOKUP_SHARES)
    assert acceptance.chances(2, 3) == pytest.approx(
        [
            acceptance.chance(2),
            acceptance.chance(2) * acceptance.chance(3),
            acceptance.chance(2) * acceptance.chance(3) * acceptance.chance(4),
        ]
    )
    assert acceptance.chances(2, 0) == []


def test_errors_lower_and_successes_raise_the_chance_of_their_kind_alone() -> None:
    acceptance, fresh = Acceptance(LOOKUP_SHARES), Acceptance(LOOKUP_SHARES)
    for _ in range(40):
        acceptance.record(2, [5], [6])
        acceptance.record(8, [5], [5])
    assert acceptance.chance(2) < 0.05
    assert acceptance.chance(8) > 0.95
    assert acceptance.chance(5) == fresh.chance(5)


def test_what_follows_an_error_says_nothing() -> None:
    acceptance, fresh = Acceptance(LOOKUP_SHARES), Acceptance(LOOKUP_SHARES)
    acceptance.record(2, [1, 2, 3], [1, 9, 3])
    assert acceptance.chance(2) > fresh.chance(2)
    assert acceptance.chance(3) < fresh.chance(3)
    assert acceptance.chance(4) == fresh.chance(4)


def test_unmeasured_costs_are_assumed_small_and_tried_in_doublings() -> None:
    costs = PassCosts()
    assert (costs.of(1), costs.known) == (1.0, 1)
    costs.record(1, 0.1)
    assert 0.1 < costs.of(4) < 0.12
    assert costs.known == 2
    costs.record(2, 0.1)
    assert costs.known == 4


def test_costs_between_measured_ones_are_interpolated() -> None:
    costs = PassCosts()
    costs.record(2, 0.2)
    costs.record(6, 0.4)
    assert costs.of(2) == 0.2
    assert costs.of(3) == pytest.approx(0.25)
    assert costs.of(1) < costs.of(2) < costs.of(6) < costs.of(7)


def test_one_slow_pass_is_no_cost() -> None:
    costs = PassCosts()
    for seconds in [0.1] * SAMPLES + [5.0]:
        costs.record(1, seconds)
    assert costs.of(1) == 0.1


def test_old_costs_are_forgotten() -> None:
    costs = PassCosts()
    costs.record(4, 9.0)
    for _ in range(STALE + 1):
        costs.record(1, 0.1)
    assert costs.of(4) < 0.2


def growing(per_row: float) -> Callable[[int], float]:
    return lambda rows: 1 + per_row * (rows - 1)


@pytest.mark.parametrize(
    ("chances", "per_row", "lengths"),
    [
        ([[0.9, 0.8, 0.7]], 0.05, [3]),
        ([[0.9, 0.8, 0.7]], 0.95, [0]),
        ([[0.9, 0.1, 0.01]], 0.3, [1]),
        ([[0.03, 0.02]], 0.02, [0]),
        ([[]], 0.0, [0]),
        ([[0.1], [0.9, 0.85]], 0.2, [0, 2]),
        ([[0.9, 0.9], [0.9, 0.9]], 0.01, [2, 2]),
    ],
)
def test_as_many_drafts_as_pay(chances: list[list[float]], per_row: float, lengths: list[int]) -> None:
    assert draft_lengths(chances, growing(per_row), max_rows=20) == lengths


def test_a_step_in_the_cost_is_not_climbed_for_little() -> None:
    def steep(rows: int) -> float:
        return 1.0 if rows <= 4 else 2.0

    assert draft_lengths([[0.95**i for i in range(1, 7)]], steep, max_rows=20) == [3]
    assert draft_lengths([[0.99**i for i in range(1, 16)]], steep, max_rows=20) == [15]


def test_rows_are_bounded() -> None:
    assert draft_lengths([[1.0] * 9, [1.0] * 9], growing(0.0), max_rows=5) in ([2, 1], [3, 0])
    assert draft_lengths([[1.0] * 9], growing(0.0), max_rows=1) == [0]
