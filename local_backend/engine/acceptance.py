"""How likely a guessed token is to come true, learned while a sequence runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

__all__ = ["Acceptance"]

TRUST = 2.0  # how many guesses that knowledge weighs
MEMORY = 0.93  # what the latest guess leaves of the weight of those before it


class Acceptance:
    """Shares of true guesses, by a number that says how good a guess should be, such as a match's length.

    The number grows by one with each further token of a guess.

    Args:
        beforehand: Least number of each class, and its share of true guesses before anything is known.
    """

    def __init__(self, beforehand: Mapping[int, float]) -> None:
        self._classes = tuple(beforehand)
        self._true = [share * TRUST for share in beforehand.values()]
        self._all = [TRUST] * len(beforehand)

    def chance(self, number: int) -> float:
        """Return the chance that a guess comes true."""
        index = self._class_of(number)
        return self._true[index] / self._all[index]

    def chances(self, number: int, count: int) -> list[float]:
        """Return the chances that the first, the first two, ... of `count` tokens all come true.

        Args:
            number: That of the first.
            count: How many there are.
        """
        result, chance = [], 1.0
        for position in range(count):
            chance *= self.chance(number + position)
            result.append(chance)
        return result

    def record(self, number: int, guessed: list[int], came: list[int]) -> None:
        """Learn from a guess whose first token has this number; what follows its first error says nothing."""
        for position, (guess, token) in enumerate(zip(guessed, came, strict=False)):
            index = self._class_of(number + position)
            self._true[index] = MEMORY * self._true[index] + (guess == token)
            self._all[index] = MEMORY * self._all[index] + 1
            if guess != token:
                return

    def _class_of(self, number: int) -> int:
        return bisect_right(self._classes, number) - 1
