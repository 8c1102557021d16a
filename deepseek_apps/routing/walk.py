"""One request's way from backend to backend: what to do next, and what became of it. No I/O.

The synchronous and the asynchronous router both drive a walk: they take its steps, do what a step says, and
report back. Nothing of the answer has reached the caller before `answered`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import httpx2

from deepseek_apps.backends.guard import origin_of
from deepseek_apps.errors import BudgetExceededError, DeadlineExceededError, DeepSeekAppsError, SettingsError
from deepseek_apps.routing.deadline import deadline_of
from deepseek_apps.routing.facts import parse_body, read_facts
from deepseek_apps.routing.faults import connection_fault, is_hard, is_overload, other_replica_helps
from deepseek_apps.routing.model_names import needs_served_names
from deepseek_apps.routing.replicas import Lease
from deepseek_apps.routing.requests import addressed, errand_request
from deepseek_apps.routing.table import RouteTable

__all__ = ["ROUTE_HEADER", "Attempt", "Errand", "Place", "Walk"]

# Response header that says who answered and why.
ROUTE_HEADER = "x-deepseek-apps-route"
Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A short GET /models to one replica: is it alive, or what does it serve?"""

    place: Place
    request: httpx2.Request
    is_probe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The request itself, addressed to one replica; last if there is nobody else to ask."""

    place: Place
    request: httpx2.Request
    lease: Lease
    who: str
    last: bool


class Walk:
    """Asks one after the other.

    Args:
        table: Whom there is.
        request: Read, and addressed to the preferred target.

    Raises:
        SettingsError: The request is addressed to someone else.
    """

    def __init__(self, table: RouteTable, request: httpx2.Request) -> None:
        preferred = table.targets[0].replicas[0].base_url
        if origin_of(request.url) != table.origins[0][0]:
            raise SettingsError(
                f"refused to send a request for {preferred} to {request.url.scheme}://{request.url.host}",
                help_message="Create a client for that address: backend='server', base_url='…'.",
            )
        self.table = table
        self.request = request
        self._body = parse_body(request.content)
        self.facts = read_facts(request.method, request.url.path, self._body)
        self._decision = table.decide(self.facts)
        self._faults: list[tuple[str, str]] = []
        self._first: Exception | httpx2.Response | None = None
        self._errand_failed = False
        self._steps = self._plan()

    def step(self) -> Errand | Attempt | None:
        """Return what to do next; None when everybody has failed."""
        return next(self._steps, None)

    def _plan(self) -> Iterator[Errand | Attempt]:
        repeatable = self.facts.kind != "other" or self.request.method == "GET"
        for position, index in enumerate(self._decision.order):
            pool, target = self.table.pools[index], self.table.targets[index]
            if (due := pool.take_due()) is not None:
                yield self._errand((index, due), is_probe=True)
            tried: set[int] = set()
            while lease := pool.lease(self.facts.affinity, exclude=tried):
                tried.add(lease.index)
                place = (index, lease.index)
                if self._must_ask_names(index):
                    yield self._errand(place, is_probe=False)
                    if self._errand_failed:
                        self._failed(place, lease, "no connection")
                        continue
                more = len(tried) < len(target.replicas) or position + 1 < len(self._decision.order)
                yield self._attempt(place, lease, last=not (more and repeatable))
                if not repeatable:
                    return
                if not other_replica_helps(self._faults[-1][1]):
                    break

    def _must_ask_names(self, index: int) -> bool:
        return (
            self.table.policy != "exact"
            and self.table.served(index) is None
            and needs_served_names(self.table.targets[index], self.facts.model, preferred=index == 0)
        )

    def _errand(self, place: Place, *, is_probe: bool) -> Errand:
        replica = self.table.targets[place[0]].replicas[place[1]]
        return Errand(place=place, request=errand_request(replica.base_url, self.request), is_probe=is_probe)

    def _attempt(self, place: Place, lease: Lease, *, last: bool) -> Attempt:
        target = self.table.targets[place[0]]
        replica = target.replicas[place[1]]
        model = self.table.model(place[0], self.facts.model)
        content = self.request.content
        if model != self.facts.model:
            content = json.dumps(self._body | {"model": model}).encode()
        preferred = self.table.targets[0].replicas[0].base_url
        return Attempt(
            place=place,
            request=addressed(self.request, preferred, replica.base_url, content),
            lease=lease,
            who=self._who(place) + (f" as {model}" if model != self.facts.model else ""),
            last=last,
        )

    def errand_done(self, errand: Errand, names: list[str] | None) -> None:
        """Take in what an errand brought: the names served, or None if there was no answer."""
        index, replica = errand.place
        self._errand_failed = names is None
        if errand.is_probe:
            self.table.pools[index].probed(replica, names is not None)
        elif names is not None:
            self.table.learn_served(index, names)

    def errand_dropped(self, errand: Errand) -> None:
        """Note that the caller went away during a probe."""
        if errand.is_probe:
            self.table.pools[errand.place[0]].probed(errand.place[1], None)

    def answered(self, attempt: Attempt, response: httpx2.Response) -> None:
        """Mark a response as the answer."""
        attempt.lease.succeed()
        self._first = None  # an exception would keep this walk alive, and this walk the exception
        response.headers[ROUTE_HEADER] = _ascii(attempt.who + self._why(attempt) + self._after())

    def refused(self, attempt: Attempt, fault: str, response: httpx2.Response) -> None:
        """Note a reply that another backend may better; kept if it is the first."""
        self._first = self._first or response
        self._failed(attempt.place, attempt.lease, fault)

    def broke(self, attempt: Attempt, error: BaseException) -> None:
        """Note an exception; raises it again if nobody else could help."""
        fault = self._fault_of(error)
        if not fault:
            attempt.lease.release()
            raise error
        assert isinstance(error, Exception)
        # That money is what stopped a call is the news, whatever failed before.
        over_budget = isinstance(error, BudgetExceededError)
        self._first = error if over_budget else self._first or error
        self._failed(attempt.place, attempt.lease, fault)
        if (deadline := deadline_of(self.request)) and deadline.remaining() <= 0:
            raise deadline.error() from error

    def _fault_of(self, error: BaseException) -> str:
        if isinstance(error, DeadlineExceededError) or not isinstance(error, Exception):
            return ""
        # What is wrong with the caller's own choice is for the caller; another choice just cannot be taken.
        if isinstance(error, DeepSeekAppsError):
            return "" if self._first is None else "cannot be used"
        return connection_fault(error)

    def _failed(self, place: Place, lease: Lease, fault: str) -> None:
        if is_hard(fault):
            lease.fail(hard=True)
        elif is_overload(fault):
            lease.fail(hard=False)
        lease.release()
        self._faults.append((self._who(place), fault))

    def gave_up(self) -> httpx2.Response:
        """Return what the first choice said; raises its exception if it said nothing."""
        if isinstance(self._first, Exception):
            raise self._first
        if self._first is None:
            raise httpx2.ConnectError(f"nobody could be asked: {self._after()}", request=self.request)
        others = "; ".join(f"{who}: {fault}" for who, fault in self._faults[1:])
        rest = f" and nobody did better: {others}" if others else ""
        self._first.headers[ROUTE_HEADER] = _ascii(self._faults[0][0] + rest)
        return self._first

    def _who(self, place: Place) -> str:
        target = self.table.targets[place[0]]
        if target.kind == "local":
            return target.label
        scheme, host, port = self.table.origins[place[0]][place[1]]
        return f"{target.label} {scheme}://{host}:{port}"

    def _why(self, attempt: Attempt) -> str:
        if self.table.policy != "cheapest" or not self.facts.generates:
            return ""
        cost = self.table.cost(attempt.place[0], self.facts)
        return " (cheapest: unknown cost)" if cost is None else f" (cheapest: about {cost:.6f} USD)"

    def _after(self) -> str:
        after = "; ".join(f"{who}: {fault}" for who, fault in self._faults)
        without = "; ".join(f"{label}: {reason}" for label, reason in self._decision.skipped)
        return (f" after {after}" if after else "") + (f" without {without}" if without else "")


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
