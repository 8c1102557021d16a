"""The circuit breaker and the pool of replicas against plain models, under any order of events."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deepseek_apps.routing.breaker import Breaker, BreakerConfig
from deepseek_apps.routing.replicas import Lease, ReplicaPool

CONFIG = BreakerConfig(threshold=3, base=1.0, cap=20.0)


class BreakerMachine(RuleBasedStateMachine):
    """One caller after the other; a trial is under way between `begin` and its end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(config=CONFIG)
        self.in_a_row = 0
        self.trial = False

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.allows(self.now))
    @rule()
    def begin(self) -> None:
        self.trial = self.breaker.state(self.now) == "half-open"
        self.breaker = self.breaker.try_now(self.now)

    @rule()
    def succeed(self) -> None:
        self.breaker = self.breaker.succeed()
        self.in_a_row, self.trial = 0, False

    @rule(jitter=st.floats(0, 1), hard=st.booleans())
    def fail(self, jitter: float, hard: bool) -> None:
        before = self.breaker
        was = before.state(self.now)
        self.breaker = before.fail(self.now, jitter=jitter, hard=hard)
        if was == "open":
            assert self.breaker == before
            return
        self.in_a_row += 1
        opens = was == "half-open" or hard or before.failures + 1 >= CONFIG.threshold
        assert (self.breaker.open_until is not None) == opens
        if opens:
            self.trial = False
            delay = (self.breaker.open_until or 0) - self.now
            longest = min(CONFIG.cap, CONFIG.base * 2**before.trips)
            assert longest / 2 - 1e-6 <= delay <= longest + 1e-6

    @rule()
    def abandon(self) -> None:
        self.breaker = self.breaker.abandon()
        self.trial = False

    @invariant()
    def a_trial_is_the_only_one(self) -> None:
        if self.trial:
            assert not self.breaker.allows(self.now)
        if self.breaker.state(self.now) == "open":
            assert not self.breaker.allows(self.now)
        if self.breaker.state(self.now) == "closed":
            assert self.breaker.allows(self.now)

    @invariant()
    def it_comes_back_in_the_end(self) -> None:
        assert self.breaker.abandon().allows(self.now + CONFIG.cap + 1e-6)


class PoolMachine(RuleBasedStateMachine):
    """Leases taken, judged and given back in any order, with probes between."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pool = ReplicaPool(["a", "b", "c"], config=CONFIG, clock=lambda: self.now, jitter=lambda: 0.5)
        self.held: list[Lease] = []

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(affinity=st.sampled_from(["", "x", "y"]), exclude=st.sets(st.integers(0, 2)))
    def take(self, affinity: str, exclude: set[int]) -> None:
        lease = self.pool.lease(affinity, exclude=exclude)
        assert (lease is None) == (exclude == {0, 1, 2})
        if lease is not None:
            assert lease.index not in exclude
            self.held.append(lease)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), verdict=st.sampled_from(["succeed", "soft", "hard", "nothing"]))
    def give_back(self, data: st.DataObject, verdict: str) -> None:
        lease = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if verdict == "succeed":
            lease.succeed()
        elif verdict != "nothing":
            lease.fail(hard=verdict == "hard")
        lease.release()
        lease.release()

    @rule(alive=st.sampled_from([True, False, None]))
    def probe(self, alive: bool | None) -> None:
        if (due := self.pool.take_due()) is not None:
            self.pool.probed(due, alive)

    @invariant()
    def places_are_counted(self) -> None:
        assert self.pool.in_flight == tuple(sum(one.index == i for one in self.held) for i in range(3))


TestBreaker = BreakerMachine.TestCase
TestPool = PoolMachine.TestCase
TestBreaker.settings = TestPool.settings = settings(max_examples=60, stateful_step_count=30)


@given(st.lists(st.sampled_from(["x", "y", "z", ""]), max_size=60))
def test_no_replica_gets_far_more_than_its_share(affinities: list[str]) -> None:
    pool = ReplicaPool(["a", "b", "c"])
    for affinity in affinities:
        assert pool.lease(affinity) is not None
        assert max(pool.in_flight) <= 1.25 * (sum(pool.in_flight) + 1) / 3 + 1


@given(st.text(min_size=1), st.permutations(["a", "b", "c", "d"]))
def test_affinity_depends_on_names_and_not_on_their_order(affinity: str, names: list[str]) -> None:
    chosen = ReplicaPool(names).lease(affinity)
    usual = ReplicaPool(["a", "b", "c", "d"]).lease(affinity)
    assert chosen is not None
    assert usual is not None
    assert names[chosen.index] == ["a", "b", "c", "d"][usual.index]
