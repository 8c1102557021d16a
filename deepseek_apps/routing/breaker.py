"""A circuit breaker as a pure value: closed, open for a back-off, then half-open for one trial.

It holds no clock and no lock: who keeps it passes the time in, and replaces it by what its methods return.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

__all__ = ["Breaker", "BreakerConfig", "BreakerState"]

BreakerState: TypeAlias = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerConfig:
    """When a breaker opens, and for how long.

    Attributes:
        threshold: Failures in a row that open it; a hard failure opens it at once.
        base: Seconds of the first back-off; each one after it, without a success between, is twice as long.
        cap: Longest back-off in seconds.
    """

    threshold: int = 3
    base: float = 1.0
    cap: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What is known of something that may fail.

    Attributes:
        config: When it opens.
        failures: Failures in a row while closed.
        trips: How often it has opened since the last success.
        open_until: When the back-off ends; None while closed.
        on_trial: Whether the one trial of the half-open state is under way.
    """

    config: BreakerConfig = BreakerConfig()
    failures: int = 0
    trips: int = 0
    open_until: float | None = None
    on_trial: bool = False

    def state(self, now: float) -> BreakerState:
        """Return the state at a time; a trial under way is half-open."""
        if self.open_until is None:
            return "closed"
        return "half-open" if self.on_trial or now >= self.open_until else "open"

    def allows(self, now: float) -> bool:
        """Whether something may be tried: always while closed, and once when the back-off is over."""
        return self.open_until is None or (not self.on_trial and now >= self.open_until)

    def try_now(self, now: float) -> Breaker:
        """Begin what `allows` allowed; while half-open it is the only trial."""
        return replace(self, on_trial=True) if self.state(now) == "half-open" else self

    def succeed(self) -> Breaker:
        """Close it, and forget all failures."""
        return Breaker(config=self.config)

    def abandon(self) -> Breaker:
        """End a trial that found nothing out, as when its caller went away; another may follow at once."""
        return replace(self, on_trial=False)

    def fail(self, now: float, *, jitter: float, hard: bool = False) -> Breaker:
        """Note a failure.

        Args:
            now: When it happened.
            jitter: A random number from 0 to 1; spreads the back-offs of many clients.
            hard: Whether it opens the breaker at once, as a refused connection does.
        """
        if self.state(now) == "open":  # a request that had begun before it opened
            return self
        failures = self.failures + 1
        if self.open_until is None and not hard and failures < self.config.threshold:
            return replace(self, failures=failures)
        # At most 2**30: the cap is reached long before, and floats end at 2**1023.
        delay = min(self.config.cap, self.config.base * 2.0 ** min(self.trips, 30))
        return replace(
            self,
            failures=0,
            trips=self.trips + 1,
            open_until=now + delay * (0.5 + jitter / 2),
            on_trial=False,
        )
