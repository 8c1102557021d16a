"""A run: calls that belong together, named in the ledger and bounded by a budget of their own.

A run is found through a context variable, so it reaches asyncio tasks, LangGraph nodes and threads that copy
their context. It counts what was spent and set aside; what a call costs is decided elsewhere.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal, InvalidOperation

from deepseek_apps.errors import BudgetExceededError, SettingsError

__all__ = ["Run", "current_run", "run"]

_CURRENT: ContextVar[Run | None] = ContextVar("deepseek_apps_run", default=None)


class Run:
    """Calls that belong together. Made by `run`; safe to share between threads.

    Attributes:
        recipe: Application that makes the calls.
        name: Tells this run from others of the recipe.
        budget: US dollars that its calls may cost; None is no limit.
        parent: The run it was started in, whose budget it also uses.
    """

    def __init__(self, *, recipe: str, name: str, budget: Decimal | None, parent: Run | None) -> None:
        self.recipe = recipe
        self.name = name
        self.budget = budget
        self.parent = parent
        self._lock = threading.Lock()
        self._spent = Decimal(0)
        self._reserved = Decimal(0)
        self._calls = 0

    @property
    def spent(self) -> Decimal:
        """US dollars that its finished calls cost."""
        return self._spent

    @property
    def reserved(self) -> Decimal:
        """US dollars set aside for calls under way."""
        return self._reserved

    @property
    def calls(self) -> int:
        """How many of its calls have ended."""
        return self._calls

    def reserve(self, amount: Decimal) -> None:
        """Set an amount aside for a call that is about to be made.

        Raises:
            BudgetExceededError: The budget does not leave that much; nothing is set aside.
        """
        with self._lock:
            if self.budget is not None and amount and self._spent + self._reserved + amount > self.budget:
                raise exceeded(f"the run {self.name!r}", self.budget, self._spent, self._reserved, amount)
            self._reserved += amount

    def release(self, amount: Decimal) -> None:
        """Give back what was set aside."""
        with self._lock:
            self._reserved -= amount

    def settle(self, reserved: Decimal, cost: Decimal) -> None:
        """Put what a call cost in the place of what was set aside for it."""
        with self._lock:
            self._reserved -= reserved
            self._spent += cost
            self._calls += 1

    def lineage(self) -> Iterator[Run]:
        """Yield this run and those it was started in."""
        yield self
        if self.parent is not None:
            yield from self.parent.lineage()


def current_run() -> Run | None:
    """Return the run that calls made here belong to, if any."""
    return _CURRENT.get()


@contextmanager
def run(*, recipe: str = "", budget: float | str | Decimal | None = None, name: str = "") -> Iterator[Run]:
    """Name the calls made inside, and bound what they cost together.

        with deepseek_apps.run(recipe="rag", budget=0.05) as this_run:
            agent.invoke(...)
        print(this_run.spent)

    Before each call an upper estimate of its price is set aside, and the true price takes its place when it
    ends; so calls under way at the same time cannot overdraw the budget together. A call that names no
    max_tokens is taken to answer with at most 8192 tokens (`assumed_answer_tokens` in the catalogue): name
    one for a hard bound. Calls on this machine cost nothing. A run inside a run uses both budgets.

    Args:
        recipe: Application, to group by in `deepseek-apps cost`; default that of the surrounding run.
        budget: US dollars that all calls inside may cost; None is no limit.
        name: Tells this run from others; default eight random digits.

    Raises:
        SettingsError: The budget is no amount.
        BudgetExceededError: From a call inside, before it is made: it could cost more than is left.
    """
    parent = _CURRENT.get()
    this = Run(
        recipe=recipe or (parent.recipe if parent else ""),
        name=name or secrets.token_hex(4),
        budget=_amount(budget),
        parent=parent,
    )
    token = _CURRENT.set(this)
    try:
        yield this
    finally:
        _CURRENT.reset(token)


def exceeded(
    what: str, budget: Decimal, spent: Decimal, reserved: Decimal, amount: Decimal
) -> BudgetExceededError:
    """Return the error that names all four amounts, in US dollars."""
    aside = f", {reserved:.6f} is set aside for calls under way" if reserved else ""
    return BudgetExceededError(
        f"{what} has spent {spent:.6f} of its budget of {budget} USD{aside}, and this call could cost"
        f" {amount:.6f}: it was not made",
        help_message="Raise the budget, lower max_tokens, or answer on this machine with the local backend.",
    )


def _amount(budget: float | str | Decimal | None) -> Decimal | None:
    if budget is None:
        return None
    try:
        amount = Decimal(str(budget))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and amount >= 0):
        raise SettingsError(f"budget={budget!r} is no amount", help_message="Give US dollars, such as 0.05.")
    return amount
