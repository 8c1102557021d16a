"""What a router knows between requests: its targets, the health of their replicas, what servers serve."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from deepseek_apps.backends import LocalBackend, Target
from deepseek_apps.backends.guard import is_loopback, origin_of
from deepseek_apps.catalog import catalogue
from deepseek_apps.cost import estimate_cost
from deepseek_apps.routing.breaker import BreakerConfig
from deepseek_apps.routing.model_names import target_model
from deepseek_apps.routing.policy import Candidate, Decision, Policy, RequestFacts, decide
from deepseek_apps.routing.replicas import ReplicaPool

__all__ = ["RouteTable"]

EXPECTED_OUTPUT_TOKENS = 1000
EXPECTED_THINKING_TOKENS = 1000


class RouteTable:
    """Targets and their state, shared by all requests of one transport. Safe from any thread.

    Attributes:
        policy: How targets are chosen.
        targets: Preferred first.
        pools: Their replicas, in the same order.
        origins: Scheme, host and port of every replica, by target.

    Args:
        policy, targets: As above.
        breaker: When a replica is put out.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        policy: Policy,
        targets: Sequence[Target],
        *,
        breaker: BreakerConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.targets = tuple(targets)
        self.pools = tuple(
            ReplicaPool([one.base_url for one in target.replicas], config=breaker, clock=clock)
            for target in targets
        )
        # Worked out once: reading addresses would take longer than all the rest of a decision.
        self.origins = tuple(tuple(origin_of(one.base_url) for one in target.replicas) for target in targets)
        self._near = tuple(
            target.kind == "local" or all(is_loopback(one.base_url) for one in target.replicas)
            for target in targets
        )
        self._served: dict[int, tuple[str, ...]] = {}

    def served(self, target: int) -> tuple[str, ...] | None:
        """Return the names that a server said it serves; None if it has not been asked."""
        return self._served.get(target)

    def learn_served(self, target: int, names: Sequence[str]) -> None:
        """Keep what a server said it serves."""
        self._served[target] = tuple(names)

    def decide(self, facts: RequestFacts) -> Decision:
        """Order the targets for a request, as they are now."""
        if self.policy == "exact":
            return Decision(order=(0,))
        candidates = [self._candidate(index, facts) for index in range(len(self.targets))]
        return decide(self.policy, candidates, facts)

    def model(self, target: int, asked: str | None) -> str | None:
        """Return the model to name in a request to a target."""
        if self.policy == "exact":
            return asked
        return target_model(
            self.targets[target],
            asked,
            preferred=target == 0,
            served=self._served.get(target, ()),
            is_pulled=_is_pulled,
        )

    def cost(self, target: int, facts: RequestFacts) -> float | None:
        """Return the US dollars that a request would cost now, roughly; None if nobody knows."""
        row = self.targets[target]
        output = EXPECTED_OUTPUT_TOKENS + (EXPECTED_THINKING_TOKENS if facts.thinking else 0)
        output = min(output, facts.max_tokens or output)
        if row.kind == "local":
            return 0.0
        model = self.model(target, facts.model) or row.default_model or ""
        now = datetime.now(UTC)
        cost = estimate_cost(model, facts.prompt_tokens, output, now, backend=row.kind, price=row.price)
        return None if cost is None else float(cost.total)

    def _candidate(self, index: int, facts: RequestFacts) -> Candidate:
        target = self.targets[index]
        context, images, ready = target.context, target.images, True
        first = target.replicas[0]
        if isinstance(first, LocalBackend):
            context = first.context()
            ready = len(self.targets) == 1 or first.is_pulled()
        if target.kind == "hosted" and facts.generates:
            row = catalogue().models.get(self.model(index, facts.model) or target.default_model or "")
            context, images = (row.context, row.images) if row else (None, None)
        return Candidate(
            label=target.label,
            kind=target.kind,
            cost=self.cost(index, facts) if self.policy == "cheapest" and facts.generates else None,
            context=context,
            images=images,
            on_this_machine=self._near[index],
            ready=ready,
            breaker=self.pools[index].state(),
        )


def _is_pulled(model: str) -> bool:
    return LocalBackend(default_model=model).is_pulled()
