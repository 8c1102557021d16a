"""The incremental index against a search of the whole text, over growing sequences of few tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from local_backend.engine.prompt_lookup import CHAIN, MAX_MATCH, MIN_MATCH, PromptLookup

steps = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=12)


def matching(tokens: list[int], follow: int) -> int:
    """How many tokens before `follow` are those at the end."""
    length = 0
    while length < min(MAX_MATCH, follow) and tokens[follow - 1 - length] == tokens[-1 - length]:
        length += 1
    return length


@given(steps)
def test_every_match_is_one_and_none_is_missed(additions: list[list[int]]) -> None:
    lookup, tokens = PromptLookup(), []
    for new in additions:
        tokens += new
        match = lookup.find(tokens)
        longest = max((matching(tokens, follow) for follow in range(1, len(tokens))), default=0)
        if match is None:
            assert longest < MIN_MATCH
            continue
        assert MIN_MATCH <= match.length <= matching(tokens, match.follow)
        if len(tokens) <= CHAIN:
            assert match.length == longest
        following = PromptLookup.following(tokens, match, 9)
        whole = [*tokens, *following]
        assert following == whole[match.follow : match.follow + 9]


@given(steps)
def test_growing_and_looking_once_see_the_same(additions: list[list[int]]) -> None:
    grown, tokens = PromptLookup(), []
    for new in additions:
        tokens += new
        grown.find(tokens)
    once = PromptLookup()
    once.find(tokens)
    assert (grown._twos, grown._threes, grown._earlier) == (once._twos, once._threes, once._earlier)
