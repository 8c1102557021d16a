"""One call as the ledger sees it: what was asked, who answered, how it ended, and the row that says so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property

import httpx2

from deepseek_apps._token_counts import TokenCounts
from deepseek_apps.backends.base import BACKEND_HEADER
from deepseek_apps.backends.target import Target, answering
from deepseek_apps.cost import Cost, Currency, cost_of_counts
from deepseek_apps.routing._ledger_writer import LedgerWriter
from deepseek_apps.routing._usage_reader import UsageReader
from deepseek_apps.routing.budget import Admission, upper_estimate
from deepseek_apps.routing.facts import parse_body, read_facts
from deepseek_apps.routing.ledger import CallRecord, Outcome, to_pico
from deepseek_apps.routing.policy import RequestFacts
from deepseek_apps.routing.run import current_run
from deepseek_apps.routing.walk import ROUTE_HEADER
from deepseek_apps.settings import Settings, load_settings

__all__ = ["COST_HEADER", "Call", "MeterOptions"]

COST_HEADER = "x-deepseek-apps-cost"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterOptions:
    """What is kept and bounded.

    Attributes:
        ledger: Whether rows are written.
        currency: What the cost header is in.
        per_day: Budget of a day in US dollars; None is no limit.
    """

    ledger: bool = True
    currency: Currency = "USD"
    per_day: Decimal | None = None

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> MeterOptions:
        """Return what the settings say.

        Raises:
            SettingsError: A setting cannot be used.
        """
        chosen = settings or load_settings()
        per_day = None if chosen.budget_per_day is None else Decimal(str(chosen.budget_per_day))
        return cls(ledger=chosen.ledger, currency=chosen.currency, per_day=per_day)


class Call:
    """One request on its way, and what is learned of its answer.

    Args:
        request: The request.
        targets: What may answer, preferred first.
        options: What is kept and bounded.
        writer: Where the row goes.
    """

    def __init__(
        self,
        request: httpx2.Request,
        targets: Sequence[Target],
        options: MeterOptions,
        writer: LedgerWriter,
    ) -> None:
        self._path = request.url.path
        self._request = request
        self._targets = targets
        self._options = options
        self._writer = writer
        self._run = current_run()
        self.admission = Admission(self._run, options.per_day, writer)
        self._ended = False
        self._at = datetime.now(UTC)
        self._started = time.perf_counter()
        self._first: float | None = None
        self._status = 0
        self._streamed = False
        self._route = ""
        self._label = ""
        self._server = ""

    @cached_property
    def facts(self) -> RequestFacts:
        """What was asked; read only where it matters, since prompts are long."""
        try:
            content = self._request.content
        except httpx2.RequestNotRead:
            content = b""
        return read_facts("POST", self._path, parse_body(content))

    def admit(self, target: Target) -> None:
        """Set aside what the call could cost at a target.

        Raises:
            BudgetExceededError: A budget does not leave that much.
        """
        if self.admission.bounded:
            self.admission.reserve(upper_estimate(self.facts, target, self._at))

    @property
    def ended(self) -> bool:
        """Whether its row is written."""
        return self._ended

    def begin_answer(self, response: httpx2.Response, *, streamed: bool) -> None:
        """Note who answers."""
        self._status = response.status_code
        self._streamed = streamed
        self._route = response.headers.get(ROUTE_HEADER, "")
        label, _, rest = self._route.partition(" ")
        self._label = label or response.headers.get(BACKEND_HEADER, "")
        address = rest.partition(" ")[0]
        target = self._target()
        if target.kind == "server":
            url = address if address.startswith("http") else target.replicas[0].base_url
            self._server = httpx2.URL(url).netloc.decode("ascii", "replace")

    def note_first(self) -> None:
        """Note the time of the first event or of the whole answer."""
        if self._first is None:
            self._first = time.perf_counter() - self._started

    def cancel(self) -> None:
        """Forget the call: it was never made."""
        self._ended = True
        self.admission.cancel()

    def end(self, outcome: Outcome, reader: UsageReader | None = None) -> Cost | None:
        """Write the row; only the first call of it counts.

        Returns:
            What the call cost, in the currency of the options; None if that is not known.
        """
        if self._ended:
            return None
        self._ended = True
        counts, guessed = self._counts(outcome, reader)
        model = (reader.model if reader else "") or self._asked_model(outcome)
        usd = self._cost(counts, model, "USD")
        self.admission.settle(usd.total if usd else Decimal(0))
        cny = self._cost(counts, model, "CNY") if self._options.ledger else None
        if self._options.ledger or self.admission.reservation is not None:
            record = self._record(outcome, counts, model, (usd, cny), guessed=guessed)
            self._writer.add(record, reservation=self.admission.reservation)
        return usd if self._options.currency == "USD" else cny

    def _record(
        self,
        outcome: Outcome,
        counts: TokenCounts,
        model: str,
        costs: tuple[Cost | None, Cost | None],
        *,
        guessed: bool,
    ) -> CallRecord:
        record = CallRecord(
            at=self._at.timestamp(),
            backend=self._target().label if not self._label else self._label,
            server=self._server,
            model=model,
            path=self._path,
            route=self._route,
            recipe=self._run.recipe if self._run else "",
            run=self._run.name if self._run else "",
            prompt=counts.prompt,
            hit=counts.hit,
            output=counts.output,
            reasoning=counts.reasoning,
            status=self._status,
            outcome=outcome,
            seconds=time.perf_counter() - self._started,
            first_seconds=self._first,
            streamed=self._streamed,
            estimated=guessed or any(cost.estimated for cost in costs if cost),
        )
        usd, cny = costs
        if usd:
            record = replace(
                record,
                usd=to_pico(usd.total),
                saved_cache_usd=to_pico(usd.saved_by_cache),
                saved_hours_usd=to_pico(usd.saved_off_peak),
            )
        if cny:
            record = replace(
                record,
                cny=to_pico(cny.total),
                saved_cache_cny=to_pico(cny.saved_by_cache),
                saved_hours_cny=to_pico(cny.saved_off_peak),
            )
        return record

    def _counts(self, outcome: Outcome, reader: UsageReader | None) -> tuple[TokenCounts, bool]:
        """Return the reported tokens, or for an answer that broke off, guesses: an event is about a token."""
        if reader is not None and reader.usage:
            return TokenCounts.from_usage(reader.usage), False
        if outcome in {"abandoned", "cut"} and reader is not None and self._status == 200:
            events = max(0, reader.events - 1)  # the first one brings the role only
            return TokenCounts(prompt=self.facts.prompt_tokens, output=events), True
        return TokenCounts(), False

    def _asked_model(self, outcome: Outcome) -> str:
        # Where the answer names none: most often there was none.
        return self.facts.model or self._target().default_model or "" if outcome != "ok" else ""

    def _target(self) -> Target:
        return answering(self._targets, self._label)

    def _cost(self, counts: TokenCounts, model: str, currency: Currency) -> Cost | None:
        target = self._target()
        return cost_of_counts(
            counts, model=model, at=self._at, currency=currency, backend=target.kind, price=target.price
        )
