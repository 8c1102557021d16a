"""The replicas of one target: which to ask next, and which are out for now. No network here.

A conversation stays with one replica while that is not busier than the rest, so that the replica's prefix
cache is hit: rendezvous hashing with bounded loads. A replica that failed is out for a back-off, and has to
answer a probe before it is asked again. Safe from any thread; nothing in here waits.
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
from collections.abc import Callable, Collection, Sequence

from deepseek_apps.routing.breaker import Breaker, BreakerConfig, BreakerState

__all__ = ["Lease", "ReplicaPool"]

# How much busier than the average a conversation's own replica may be.
IMBALANCE = 1.25


class Lease:
    """A request's place at one replica, from being chosen until its answer is closed.

    Attributes:
        index: Which replica.
    """

    def __init__(self, pool: ReplicaPool, index: int) -> None:
        self.index = index
        self._pool = pool
        self._held = True
        self._judged = False

    def succeed(self) -> None:
        """Note that the replica answered; what it said does not matter."""
        self._judged = True
        self._pool._succeed(self.index)

    def fail(self, *, hard: bool) -> None:
        """Note that the replica failed; hard puts it out at once."""
        self._judged = True
        self._pool._fail(self.index, hard=hard)

    def release(self) -> None:
        """Give the place back; idempotent, from any thread."""
        if self._held:
            self._held = False
            self._pool._release(self.index, judged=self._judged)


class ReplicaPool:
    """Chooses among equal replicas.

    Args:
        names: What tells them apart; the same names give the same affinity in every process.
        config: When a replica is put out. With one replica there is nothing to probe: the next request is.
        clock: Seconds that never go back.
        jitter: Random numbers from 0 to 1.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        config: BreakerConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._names = tuple(names)
        self._breakers = [Breaker(config=config or BreakerConfig()) for _ in names]
        self._in_flight = [0] * len(names)
        self._asked = [0] * len(names)
        self._clock = clock
        self._jitter = jitter
        # Reentrant: a lease may be given back by the garbage collector, in the middle of anything.
        self._lock = threading.RLock()

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Requests whose answers are not closed yet, by replica."""
        with self._lock:
            return tuple(self._in_flight)

    def state(self) -> BreakerState:
        """Return the best state of any replica; one on trial counts as open to everyone else."""
        with self._lock:
            now = self._clock()
            if any(breaker.open_until is None for breaker in self._breakers):
                return "closed"
            return "half-open" if any(breaker.allows(now) for breaker in self._breakers) else "open"

    def take_due(self) -> int | None:
        """Return a replica whose back-off is over, for the caller to probe and report by `probed`."""
        if len(self._names) == 1:
            return None
        with self._lock:
            now = self._clock()
            for index, breaker in enumerate(self._breakers):
                if breaker.state(now) == "half-open" and breaker.allows(now):
                    self._breakers[index] = breaker.try_now(now)
                    return index
        return None

    def probed(self, index: int, alive: bool | None) -> None:
        """Take in what the probe of `take_due` found; None is nothing, as when it was cancelled."""
        if alive is None:
            with self._lock:
                self._breakers[index] = self._breakers[index].abandon()
        elif alive:
            self._succeed(index)
        else:
            self._fail(index, hard=True)

    def lease(self, affinity: str = "", *, exclude: Collection[int] = ()) -> Lease | None:
        """Choose a replica; None if all are excluded.

        Args:
            affinity: The same for requests that should meet again; empty takes the least busy.
            exclude: Replicas that this request has tried.
        """
        with self._lock:
            left = [index for index in range(len(self._names)) if index not in exclude]
            if not left:
                return None
            now = self._clock()
            index = self._choose(left, affinity, now)
            self._breakers[index] = self._breakers[index].try_now(now)
            self._in_flight[index] += 1
            self._asked[index] += 1
        return Lease(self, index)

    def _choose(self, left: list[int], affinity: str, now: float) -> int:
        fit = [index for index in left if self._is_fit(index, now)]
        if not fit:  # better one that is out than none: the one that comes back first
            return min(left, key=lambda index: (self._breakers[index].open_until or 0.0, index))
        if affinity:
            total = sum(self._in_flight[index] for index in fit)
            limit = math.ceil(IMBALANCE * (total + 1) / len(fit))
            fit = [index for index in fit if self._in_flight[index] < limit]
            return max(fit, key=lambda index: _weight(affinity, self._names[index]))
        return min(fit, key=lambda index: (self._in_flight[index], self._asked[index], index))

    def _is_fit(self, index: int, now: float) -> bool:
        breaker = self._breakers[index]
        return breaker.state(now) == "closed" or (len(self._names) == 1 and breaker.allows(now))

    def _succeed(self, index: int) -> None:
        with self._lock:
            self._breakers[index] = self._breakers[index].succeed()

    def _fail(self, index: int, *, hard: bool) -> None:
        with self._lock:
            self._breakers[index] = self._breakers[index].fail(
                self._clock(), jitter=self._jitter(), hard=hard
            )

    def _release(self, index: int, *, judged: bool) -> None:
        with self._lock:
            self._in_flight[index] -= 1
            if not judged:
                self._breakers[index] = self._breakers[index].abandon()


def _weight(affinity: str, name: str) -> bytes:
    return hashlib.blake2b(f"{affinity}\n{name}".encode(), digest_size=8).digest()
