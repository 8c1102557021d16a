"""How many requests may run at once: as many as the backend takes, found by trying (AIMD). Pure.

DeepSeek limits requests at once per account, not per minute, and sends no Retry-After; an account with little
money left is told its number in the text of the 429. https://api-docs.deepseek.com/quick_start/rate_limit
"""

from __future__ import annotations

import math
import re

__all__ = ["AdaptiveLimit", "named_limit"]

NAMED_LIMIT = re.compile(r"concurrency limit of (\d+)")
FIRST_LIMIT = 8.0
# A number the backend named is believed this long; money may have come in since.
BELIEVED_SECONDS = 60.0


def named_limit(message: str) -> int | None:
    """Return the number of requests at once that a refusal names, at least 1; None if it names none."""
    found = NAMED_LIMIT.search(message)
    return max(1, int(found[1])) if found else None


class AdaptiveLimit:
    """A limit that doubles per round trip until the first refusal, then grows by one and halves.

    Args:
        ceiling: Never more than this, at least 1.
    """

    def __init__(self, ceiling: int) -> None:
        if ceiling < 1:
            raise ValueError(f"ceiling={ceiling}: expected at least 1")
        self._ceiling = ceiling
        self._limit = min(float(ceiling), FIRST_LIMIT)
        self._searching = True
        self._cut_at = -math.inf
        self._named: int | None = None
        self._named_at = -math.inf

    @property
    def current(self) -> int:
        """Requests that may run at once."""
        return max(1, int(self._limit))

    def succeeded(self, now: float, in_flight: int) -> None:
        """Note that a request was taken; what is not made use of proves nothing and does not grow.

        Args:
            now: Seconds on any clock that only goes forward.
            in_flight: How many are out at the moment.
        """
        if 2 * (in_flight + 1) < self.current:
            return
        self._limit += 1.0 if self._searching else 1.0 / self._limit
        self._limit = min(self._limit, float(self._top(now)))

    def rejected(self, message: str, *, sent_at: float, now: float) -> None:
        """Note a 429; those sent before the last reduction say nothing new.

        Args:
            message: Its text, which may name a number.
            sent_at: When the request was sent.
            now: When it was refused.
        """
        self._searching = False
        if (named := named_limit(message)) is not None:
            self._named, self._named_at = named, now
            self._limit = min(self._limit, float(named))
            self._cut_at = now
        elif sent_at >= self._cut_at:
            self._limit = max(1.0, self._limit / 2)
            self._cut_at = now

    def _top(self, now: float) -> int:
        if self._named is None or now - self._named_at >= BELIEVED_SECONDS:
            return self._ceiling
        return min(self._ceiling, self._named)
