"""Prompt lookup: what followed the last tokens when they occurred before, in the prompt or the output.

Text that is edited, quoted or translated in place repeats itself for long stretches; a repeated stretch is
a good guess at what comes next (Saxena 2023, "prompt lookup decoding"). Plain Python, no model.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_MATCH", "MIN_MATCH", "Match", "PromptLookup"]

MIN_MATCH, MAX_MATCH = 2, 16  # tokens that must match, and beyond which longer is no better
CHAIN = 24  # earlier occurrences of the last three tokens that are compared, newest first
TOKEN_BITS = 21  # of a token in a key
TWO, THREE = (1 << 2 * TOKEN_BITS) - 1, (1 << 3 * TOKEN_BITS) - 1


@dataclass(frozen=True, slots=True)
class Match:
    """An earlier occurrence of the last tokens.

    Attributes:
        follow: Position of the token that came after it.
        length: How many tokens match, MIN_MATCH to MAX_MATCH.
    """

    follow: int
    length: int


class PromptLookup:
    """An index over one growing sequence; a token costs two dictionary entries, once."""

    def __init__(self) -> None:
        self._indexed = 0  # tokens that are in the index, each as the last of its n-gram
        self._key = THREE  # the last three of them; before the first stand tokens that do not exist
        self._twos: dict[int, int] = {}  # two tokens -> position after their newest occurrence
        self._threes: dict[int, int] = {}
        self._earlier: list[int] = []  # position -> the one before it with the same three tokens; 0 ends
        self._last: tuple[int, Match] | None = None

    def find(self, token_ids: list[int]) -> Match | None:
        """Return the longest match of the last tokens, the newest of equals; None when there is none.

        The match found last is followed as long as it holds and no longer one is found.

        Args:
            token_ids: The sequence; the same list as before, with more tokens at its end.
        """
        self._index(token_ids)
        best = self._continued(token_ids)
        if best is None or best.length < MAX_MATCH:
            best = self._longest(token_ids, best)
        self._last = None if best is None else (len(token_ids), best)
        return best

    @staticmethod
    def following(token_ids: list[int], match: Match, count: int) -> list[int]:
        """Return `count` tokens from the match on; at the end of the sequence it goes round in circles."""
        found = token_ids[match.follow : match.follow + count]
        period = len(token_ids) - match.follow
        while len(found) < count:
            found.append(found[len(found) - period])
        return found

    def _index(self, token_ids: list[int]) -> None:
        """Enter all n-grams but the one at the very end, which nothing follows yet."""
        twos, threes, earlier, key = self._twos, self._threes, self._earlier, self._key
        for position in range(self._indexed, len(token_ids) - 1):
            key = (key << TOKEN_BITS | token_ids[position]) & THREE
            twos[key & TWO] = position + 1
            earlier.append(threes.get(key, 0))
            threes[key] = position + 1
        self._indexed, self._key = max(self._indexed, len(token_ids) - 1), key

    def _continued(self, token_ids: list[int]) -> Match | None:
        if self._last is None:
            return None
        length, match = self._last
        new = len(token_ids) - length
        if token_ids[match.follow : match.follow + new] != token_ids[length:]:
            return None
        return Match(match.follow + new, min(match.length + new, MAX_MATCH))

    def _longest(self, token_ids: list[int], best: Match | None) -> Match | None:
        if len(token_ids) <= MIN_MATCH:
            return best
        key = (self._key << TOKEN_BITS | token_ids[-1]) & THREE
        follow = self._threes.get(key, 0)
        if not follow and best is None:
            follow = self._twos.get(key & TWO, 0)
            return Match(follow, MIN_MATCH) if follow >= MIN_MATCH else None
        for _ in range(CHAIN):
            if follow < MIN_MATCH + 1:
                break
            length = _common_end(token_ids, follow)
            if best is None or length > best.length:
                best = Match(follow, length)
                if length == MAX_MATCH:
                    break
            follow = self._earlier[follow - 1]
        return best


def _common_end(token_ids: list[int], stop: int) -> int:
    """How many tokens before `stop` are the same as at the end of the list, up to MAX_MATCH."""
    length, end = 0, len(token_ids)
    most = min(MAX_MATCH, stop)
    while length < most and token_ids[stop - 1 - length] == token_ids[end - 1 - length]:
        length += 1
    return length
