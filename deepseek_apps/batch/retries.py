"""What a reply means for its request and its batch: keep it, try again in a while, or stop."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from deepseek_apps.batch.exchange import Reply
from deepseek_apps.errors import (
    AuthenticationError,
    BudgetExceededError,
    DeepSeekAppsError,
    InsufficientBalanceError,
    RateLimitedError,
    SettingsError,
)

__all__ = ["Next", "Patience", "Tries", "Verdict"]

# No request of the batch can do better than one that failed with these.
STOPPING: tuple[type[DeepSeekAppsError], ...] = (
    AuthenticationError,
    BudgetExceededError,
    InsufficientBalanceError,
    SettingsError,
)
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
# Without a single answer in between: how long refusals for their number, and how many used-up requests.
REFUSED_SECONDS = 900.0
MOST_LOST = 10


class Next(Enum):
    """What to do after a reply."""

    KEEP = "keep"
    AGAIN = "again"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and when.

    Attributes:
        next: Keep the reply, send the request again, or stop the batch with the reply's error.
        delay: Seconds to wait before it is sent again.
        lost: Whether the batch should stop after this reply was kept: nothing gets an answer any more.
    """

    next: Next
    delay: float = 0.0
    lost: bool = False


@dataclass(slots=True)
class Tries:
    """How often one request has failed, and has been refused for the number of requests at once."""

    failures: int = 0
    refusals: int = 0


class Patience:
    """Judges replies. Refusals for their number cost a request nothing; failures use up its tries.

    Args:
        max_retries: How often a request that failed is sent again.
        chance: For the jitter that keeps requests from coming back all at once.
    """

    def __init__(self, max_retries: int, chance: random.Random) -> None:
        self._max_retries = max_retries
        self._chance = chance
        self._refused_since: float | None = None
        self._lost_in_a_row = 0

    def judge(self, reply: Reply, tries: Tries, now: float) -> Verdict:
        """Say what to do after a reply, and count it.

        Args:
            reply: What came.
            tries: What became of the request before; counted up.
            now: Seconds on a clock that only goes forward.
        """
        error = reply.error
        if error is None:
            self._refused_since, self._lost_in_a_row = None, 0
            return Verdict(Next.KEEP)
        if isinstance(error, STOPPING):
            return Verdict(Next.STOP)
        if isinstance(error, RateLimitedError):
            return self._after_refusal(reply, tries, now)
        return self._after_failure(reply, tries) if error.retryable else Verdict(Next.KEEP)

    def _after_refusal(self, reply: Reply, tries: Tries, now: float) -> Verdict:
        tries.refusals += 1
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since > REFUSED_SECONDS:
            return Verdict(Next.STOP)
        return Verdict(Next.AGAIN, self._delay(tries.refusals, reply.retry_after))

    def _after_failure(self, reply: Reply, tries: Tries) -> Verdict:
        tries.failures += 1
        if tries.failures <= self._max_retries:
            return Verdict(Next.AGAIN, self._delay(tries.failures, reply.retry_after))
        self._lost_in_a_row += 1
        return Verdict(Next.KEEP, lost=self._lost_in_a_row >= MOST_LOST)

    def _delay(self, count: int, asked_for: float | None) -> float:
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(count - 1, 10))
        return max(asked_for or 0.0, delay * (0.5 + self._chance.random() / 2))
