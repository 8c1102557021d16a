"""Who may send now: a free slot, money left, the cheap hours, and nothing that stopped the batch.

One gate per batch; its workers pass it before each try of each request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from deepseek_apps.batch.clock import Clock
from deepseek_apps.batch.concurrency import AdaptiveLimit
from deepseek_apps.errors import BudgetExceededError, DeepSeekAppsError

__all__ = ["Gate", "OpensAt", "Purse"]

# When requests may be sent again; None means now.
OpensAt = Callable[[datetime], datetime | None]
# Longest uninterrupted sleep: a machine that was suspended, or a clock set right, is noticed after this.
NAP_SECONDS = 30.0


class Purse:
    """What the batch has cost, and what the requests in flight may cost at most; USD.

    Args:
        budget: Most it may cost in all; None is no limit.
        spent: What earlier runs of it have cost.
    """

    def __init__(self, budget: Decimal | None, spent: Decimal = Decimal(0)) -> None:
        self.budget = budget
        self.spent = spent
        self.reserved = Decimal(0)

    def reserve(self, amount: Decimal) -> bool:
        """Set an amount aside; False, and nothing happens, if the budget does not hold it."""
        if self.budget is not None and self.spent + self.reserved + amount > self.budget:
            return False
        self.reserved += amount
        return True

    def settle(self, reserved: Decimal, spent: Decimal) -> None:
        """Replace what was set aside by what it came to."""
        self.reserved -= reserved
        self.spent += spent

    def exceeded(self, amount: Decimal) -> BudgetExceededError:
        """Return the error that says a request of this price did not fit."""
        return BudgetExceededError(
            f"the batch has cost ${self.spent:.4f} and its next request may cost ${amount:.4f}, "
            f"which is more than its budget of ${self.budget} holds",
            help_message="Run it again with a higher --budget, or set max_tokens in the requests; "
            "what is done is kept.",
        )


class Gate:
    """Lets requests out one by one.

    Args:
        limit: How many may be out at once.
        purse: What they may cost.
        clock: Time.
        opens_at: When sending is allowed again.

    Attributes:
        in_flight: Requests that are out.
        error: Why the batch stopped; None while it runs, and if it was stopped from outside.
        waiting_until: When sending is allowed again, if that is not now.
    """

    def __init__(self, limit: AdaptiveLimit, purse: Purse, clock: Clock, *, opens_at: OpensAt) -> None:
        self.in_flight = 0
        self.error: DeepSeekAppsError | None = None
        self.waiting_until: datetime | None = None
        self._limit = limit
        self._purse = purse
        self._clock = clock
        self._opens_at = opens_at
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def stopped(self) -> bool:
        """Whether no more requests go out."""
        return self._stopping.is_set()

    def stop(self, error: DeepSeekAppsError | None = None) -> None:
        """Let no more requests out; those that are out may come home. The first reason counts."""
        if not self.stopped:
            self.error = error
        self._stopping.set()
        self._wake()

    async def enter(self, price: Decimal) -> bool:
        """Wait until a request may be sent, and count it as out.

        Args:
            price: The most it can cost, USD.

        Returns:
            False when it may not be sent at all, because the batch has stopped.
        """
        while not self.stopped:
            self.waiting_until = self._opens_at(self._clock.now())
            if self.waiting_until is not None:
                await self.pause((self.waiting_until - self._clock.now()).total_seconds())
            elif self.in_flight >= self._limit.current:
                await self._changed.wait()
            elif self._purse.reserve(price):
                self.in_flight += 1
                return True
            elif self.in_flight == 0:
                self.stop(self._purse.exceeded(price))
            else:
                await self._changed.wait()
        return False

    def leave(self, price: Decimal, spent: Decimal) -> None:
        """Count a request as home.

        Args:
            price: What `enter` was told.
            spent: What it cost.
        """
        self.in_flight -= 1
        self._purse.settle(price, spent)
        self._wake()

    async def rest(self, seconds: float) -> None:
        """Wait, or until the batch stops."""
        end = self._clock.monotonic() + seconds
        while not self.stopped and (left := end - self._clock.monotonic()) > 0:
            await self.pause(left)

    async def pause(self, seconds: float) -> None:
        """Wait for at most half a minute, or until the batch stops."""
        tasks = {
            asyncio.ensure_future(self._clock.sleep(min(max(seconds, 0.0), NAP_SECONDS))),
            asyncio.ensure_future(self._stopping.wait()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _wake(self) -> None:
        """Let all who wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()
