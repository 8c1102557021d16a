"""Prompt lookup: which earlier occurrence is found, and what is read from it."""

from __future__ import annotations

import pytest

from local_backend.engine.prompt_lookup import MAX_MATCH, Match, PromptLookup


def guess(tokens: list[int], count: int = 4) -> list[int]:
    match = PromptLookup().find(tokens)
    return [] if match is None else PromptLookup.following(tokens, match, count)


@pytest.mark.parametrize("tokens", [[], [1], [1, 2], [1, 1], [1, 2, 3, 4], [0, 0, 5], [9, 1, 2, 9]])
def test_nothing_repeats(tokens: list[int]) -> None:
    assert guess(tokens) == []


def test_what_followed_is_guessed() -> None:
    assert guess([1, 2, 3, 4, 5, 6, 9, 1, 2, 3]) == [4, 5, 6, 9]


def test_two_tokens_are_enough() -> None:
    assert guess([1, 2, 7, 8, 9, 1, 2]) == [7, 8, 9, 1]


def test_the_longest_match_wins() -> None:
    tokens = [5, 1, 2, 3, 70, 9, 1, 2, 3, 80, 8, 5, 1, 2, 3]
    assert PromptLookup().find(tokens) == Match(follow=4, length=4)


def test_the_newest_of_equals_wins() -> None:
    assert guess([1, 2, 3, 70, 1, 2, 3, 80, 1, 2, 3], 1) == [80]


def test_three_beat_a_newer_two() -> None:
    assert guess([1, 2, 3, 70, 9, 2, 3, 80, 8, 1, 2, 3], 1) == [70]


def test_at_the_end_the_guess_goes_round() -> None:
    assert guess([9, 1, 2, 1, 2], 5) == [1, 2, 1, 2, 1]
    assert guess([7, 7, 7, 7], 3) == [7, 7, 7]


def test_a_match_is_followed_past_a_newer_one_as_short() -> None:
    first, second = [1, 2, 3, 4, 5, 6, 7], [50, 4, 5, 6, 60]
    lookup, tokens = PromptLookup(), [*first, *second, 1, 2, 3]
    assert lookup.find(tokens) == Match(follow=3, length=3)
    tokens += [4, 5, 6]
    assert lookup.find(tokens) == Match(follow=6, length=6)


def test_a_match_that_broke_is_left_for_another() -> None:
    lookup, tokens = PromptLookup(), [1, 2, 3, 4, 5, 6, 9, 5, 8, 8, 1, 2, 3]
    assert lookup.find(tokens) == Match(follow=3, length=3)
    tokens += [9, 5]
    assert lookup.find(tokens) == Match(follow=8, length=2)
    tokens += [77]
    assert lookup.find(tokens) is None


def test_a_longer_match_replaces_the_one_that_is_followed() -> None:
    long = list(range(100, 120))
    lookup, tokens = PromptLookup(), [*long, 1, 2, 3, 104, 105, 7, 1, 2, 3]
    assert lookup.find(tokens) == Match(follow=23, length=3)
    tokens[-3:] = long[:5]
    assert PromptLookup().find(tokens) == Match(follow=5, length=5)


def test_length_is_capped() -> None:
    long = list(range(100, 150))
    assert PromptLookup().find([*long, *long]) == Match(follow=50, length=MAX_MATCH)
