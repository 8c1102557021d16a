"""How likely a guessed token is to come true, learned while a sequence runs."""

from __future__ import annotations

from bisect import bisect_right

from local_backend.engine.prompt_lookup import MAX_MATCH

__all__ = ["Acceptance"]

CLASSES = (2, 3, 4, 5, 8, 12, MAX_MATCH)  # shortest match of each class
BEFOREHAND = (0.25, 0.4, 0.5, 0.65, 0.8, 0.9, 0.95)  # their share of true guesses before anything is known
TRUST = 2.0  # how many guesses that knowledge weighs
MEMORY = 0.93  # what the latest guess leaves of the weight of those before it


class Acceptance:
    """Shares of true guesses, by how many tokens matched before the guess."""

    def __init__(self) -> None:
        self._true = [share * TRUST for share in BEFOREHAND]
        self._all = [TRUST] * len(CLASSES)

    def chance(self, length: int) -> float:
        """Return the chance that the token after a match of this length comes true."""
        index = _class_of(length)
        return self._true[index] / self._all[index]

    def chances(self, length: int, count: int) -> list[float]:
        """Return the chances that the first, the first two, ... of `count` tokens all come true."""
        result, chance = [], 1.0
        for position in range(count):
            chance *= self.chance(length + position)
            result.append(chance)
        return result

    def record(self, length: int, guessed: list[int], came: list[int]) -> None:
        """Learn from a guess after a match of this length; what follows its first error says nothing."""
        for position, (guess, token) in enumerate(zip(guessed, came, strict=False)):
            index = _class_of(length + position)
            self._true[index] = MEMORY * self._true[index] + (guess == token)
            self._all[index] = MEMORY * self._all[index] + 1
            if guess != token:
                return


def _class_of(length: int) -> int:
    return bisect_right(CLASSES, length) - 1
