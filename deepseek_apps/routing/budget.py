"""Budgets: what a call could cost is set aside before it is made, and what it did cost takes its place.

A call is stopped before it is made when its run, or the day, does not leave that much. Calls on this machine,
and on servers without a price, cost nothing and always pass. The router asks `admit` again for each backend
that it falls back to, since each has its own price.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from deepseek_apps._token_counts import TokenCounts
from deepseek_apps.catalog import limit
from deepseek_apps.cost import cost_of_counts
from deepseek_apps.errors import BudgetExceededError

if TYPE_CHECKING:
    import httpx2

    from deepseek_apps.backends.target import Target
    from deepseek_apps.routing._ledger_writer import LedgerWriter
    from deepseek_apps.routing.policy import RequestFacts
    from deepseek_apps.routing.run import Run

__all__ = ["CALL_EXTENSION", "Admission", "admit", "admit_async", "upper_estimate"]

# Where metering leaves the call on its request, for whoever chooses a backend to find.
CALL_EXTENSION = "deepseek_apps.call"
NOTHING = Decimal(0)
# A tokenizer may need more tokens than the rule of thumb says; templates add some of their own.
PROMPT_MARGIN, TEMPLATE_TOKENS = 1.5, 100


class Admission:
    """What is set aside for one call, in every budget that it counts against.

    Args:
        run: The run it belongs to, if any.
        per_day: Budget of the day in US dollars; None is no limit.
        writer: The ledger, which knows what other processes spend.
    """

    def __init__(self, run: Run | None, per_day: Decimal | None, writer: LedgerWriter) -> None:
        self._runs = [] if run is None else list(run.lineage())
        self._per_day = per_day
        self._writer = writer
        self._reserved = NOTHING
        self.reservation: int | None = None

    @property
    def bounded(self) -> bool:
        """Whether any budget bounds the call."""
        return self.per_day or any(run.budget is not None for run in self._runs)

    @property
    def per_day(self) -> bool:
        """Whether the day's budget bounds the call, so that asking reads a file."""
        return self._per_day is not None

    def reserve(self, amount: Decimal) -> None:
        """Set an amount aside, or as much more as is needed to have set it aside.

        Raises:
            BudgetExceededError: A budget does not leave that much; nothing more is set aside.
            LedgerError: The day has a budget, and nobody knows what it leaves.
        """
        more = amount - self._reserved
        if more <= 0:
            return
        taken: list[Run] = []
        try:
            for run in self._runs:
                run.reserve(more)
                taken.append(run)
            if self._per_day is not None:
                self._drop_reservation()
                self.reservation = self._writer.reserve(
                    amount, budget=self._per_day, since=_midnight().timestamp()
                )
        except BaseException:
            for run in taken:
                run.release(more)
            raise
        self._reserved = amount

    def settle(self, cost: Decimal) -> None:
        """Replace what is set aside by what the call cost; the day's part goes with its row in the ledger."""
        for run in self._runs:
            run.settle(self._reserved, cost)
        self._reserved = NOTHING

    def cancel(self) -> None:
        """Give everything back: the call was not made."""
        for run in self._runs:
            run.release(self._reserved)
        self._reserved = NOTHING
        self._drop_reservation()

    def _drop_reservation(self) -> None:
        if self.reservation is not None:
            self._writer.release(self.reservation)
        self.reservation = None


def admit(request: httpx2.Request, target: Target) -> None:
    """Set aside what a request could cost at a target; nothing happens where no budget bounds it.

    Raises:
        BudgetExceededError: A budget does not leave that much.
    """
    if (call := request.extensions.get(CALL_EXTENSION)) is not None:
        call.admit(target)


async def admit_async(request: httpx2.Request, target: Target) -> None:
    """Do what `admit` does without blocking the event loop."""
    if (call := request.extensions.get(CALL_EXTENSION)) is None:
        return
    if call.admission.per_day:
        from anyio import to_thread  # noqa: PLC0415  lazy: synchronous callers need none of it

        await to_thread.run_sync(call.admit, target)
    else:
        call.admit(target)


def upper_estimate(facts: RequestFacts, target: Target, at: datetime) -> Decimal:
    """Return US dollars that a request to a target will hardly exceed.

    Raises:
        BudgetExceededError: The price of its model is not known, so no budget can be kept.
    """
    if target.kind == "local":
        return NOTHING
    model = facts.model or target.default_model or ""
    answer = limit("assumed_answer_tokens") if facts.max_tokens is None else facts.max_tokens
    prompt = int(facts.prompt_tokens * PROMPT_MARGIN) + TEMPLATE_TOKENS
    counts = TokenCounts(prompt=prompt, output=answer)
    cost = cost_of_counts(counts, model=model, at=at, backend=target.kind, price=target.price)
    if cost is None:
        raise BudgetExceededError(
            f"the price of {model!r} is not known, so a call to it cannot be kept within a budget",
            help_message="Add a [[prices]] row for it to catalog.toml, or make the call without a budget.",
        )
    return cost.total


def _midnight() -> datetime:
    return datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
