"""Runs a batch: takes requests from the input, sends them through the gate, writes results as they come.

Stopping, for whatever reason, keeps what is done; running again with the same files goes on from there.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from deepseek_apps.backend_client import AsyncBackendClient
from deepseek_apps.backends.base import BACKEND_HEADER
from deepseek_apps.backends.target import answering
from deepseek_apps.batch.clock import Clock, SystemClock
from deepseek_apps.batch.concurrency import AdaptiveLimit
from deepseek_apps.batch.estimate import CountTokens, upper_cost
from deepseek_apps.batch.exchange import Reply, exchange
from deepseek_apps.batch.gate import Gate, Purse
from deepseek_apps.batch.journal import Journal
from deepseek_apps.batch.line_checks import BatchRequest
from deepseek_apps.batch.options import BatchOptions, default_concurrency
from deepseek_apps.batch.progress import BatchProgress
from deepseek_apps.batch.results import BatchResults
from deepseek_apps.batch.retries import Next, Patience, Tries
from deepseek_apps.batch.source import BatchSource
from deepseek_apps.batch.spending import count_prompt_tokens, spent_before
from deepseek_apps.cost import TokenCounts, cost_of, is_peak, next_off_peak
from deepseek_apps.errors import DeepSeekAppsError, TimedOutError
from deepseek_apps.routing.routed import targets_of
from deepseek_apps.routing.walk import ROUTE_HEADER

__all__ = ["BatchRun", "OnProgress"]

OnProgress = Callable[[BatchProgress], None]
NOTHING = Decimal(0)


class BatchRun:
    """One run of a batch.

    Args:
        client: Where to ask; see `deepseek_apps.async_http_client`.
        source: The checked input.
        results: The open output; what it holds already is not asked again.
        options: How to go about it.
        on_progress: Told after each change.
        count: Counts prompt tokens for the budget.
        clock: Time; tests have their own.
        chance: Jitter of the waiting times.
    """

    def __init__(
        self,
        client: AsyncBackendClient,
        source: BatchSource,
        results: BatchResults,
        options: BatchOptions | None = None,
        *,
        on_progress: OnProgress = lambda _: None,
        count: CountTokens = count_prompt_tokens,
        clock: Clock | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._client = client
        self._source = source
        self._results = results
        self._options = options or BatchOptions()
        self._on_progress = on_progress
        self._count = count
        self._clock = clock or SystemClock()
        backend = client.backend.name
        self._workers = self._options.concurrency or default_concurrency(backend, source.models)
        self._limit = AdaptiveLimit(self._workers)
        self._targets = targets_of(client.backend)
        self._purse = Purse(self._options.budget, spent_before(results, self._targets[0]))
        opens_at = _cheap_hours if self._options.off_peak and backend == "hosted" else _always
        self._gate = Gate(self._limit, self._purse, self._clock, opens_at=opens_at)
        self._patience = Patience(self._options.max_retries, chance or random.Random())  # noqa: S311
        self._progress = BatchProgress(
            total=len(source),
            resumed=results.count("answered"),
            refused_before=results.count("refused"),
            cost=self._purse.spent,
        )
        self._started = 0.0
        self._model = client.backend.default_model

    @property
    def progress(self) -> BatchProgress:
        """How far it is."""
        return replace(
            self._progress,
            cost=self._purse.spent,
            in_flight=self._gate.in_flight,
            limit=self._limit.current,
            seconds=self._clock.monotonic() - self._started,
            waiting_until=self._gate.waiting_until,
        )

    def stop(self) -> None:
        """Send no more requests; those in flight are still waited for. From the event loop's thread."""
        self._gate.stop()

    async def run(self) -> BatchProgress:
        """Send every request that has no result yet.

        Returns:
            How it ended; `failed` counts those without an answer.

        Raises:
            AuthenticationError, InsufficientBalanceError: No request of the batch can be answered.
            RateLimitedError, OverloadedError, UnreachableError: None was answered any more, for long.
            BudgetExceededError: The next request may cost more than the budget holds.
            TimedOutError: The batch as a whole took too long.
            BatchOutputError: Results cannot be written.
        """
        self._started = self._clock.monotonic()
        names = iter(self._results.unfinished)
        with Journal(self._results) as journal:
            try:
                async with asyncio.timeout(self._options.timeout):
                    async with asyncio.TaskGroup() as group:
                        for _ in range(min(self._workers, len(self._source))):
                            group.create_task(self._work(names, journal))
            except TimeoutError:
                self._gate.stop(
                    TimedOutError(
                        f"the batch is not done within {self._options.timeout:g} s",
                        help_message="Run it again to go on; what is done is kept.",
                    )
                )
        if self._gate.error is not None:
            raise self._gate.error
        return self.progress

    async def _work(self, names: Iterator[str], journal: Journal) -> None:
        for name in names:
            if self._gate.stopped:
                return
            try:
                reply = await self._answer(self._source.read(name))
                if reply is None:
                    return
                await journal.write(reply.line(name))
            except DeepSeekAppsError as error:
                self._gate.stop(error)
                return
            self._note(reply)

    async def _answer(self, request: BatchRequest) -> Reply | None:
        """Send a request until its reply counts; None when the batch stopped before that."""
        tries = Tries()
        price = self._price(request)
        while await self._gate.enter(price):
            sent_at = self._clock.monotonic()
            reply = await self._send(request, price)
            now = self._clock.monotonic()
            verdict = self._patience.judge(reply, tries, now)
            if verdict.next is Next.STOP or verdict.lost:
                self._gate.stop(reply.error)
            if verdict.next is Next.STOP:
                return None
            if verdict.next is Next.KEEP:
                self._limit.succeeded(now, self._gate.in_flight)
                return reply
            if reply.status == 429:
                self._limit.rejected(str(reply.error), sent_at=sent_at, now=now)
            self._progress = replace(self._progress, repeated=self._progress.repeated + 1)
            await self._gate.rest(verdict.delay)
        return None

    async def _send(self, request: BatchRequest, price: Decimal) -> Reply:
        spent = NOTHING
        self._tell()
        try:
            reply = await exchange(self._client, request, model=self._model)
            spent = self._cost(request, reply)
        finally:
            self._gate.leave(price, spent)
        return reply

    def _price(self, request: BatchRequest) -> Decimal:
        """Return the most the request can cost now; nobody asks without a budget, and counting takes time."""
        model = request.model or self._model
        if self._options.budget is None or model is None:
            return NOTHING
        tokens = self._count(request, model)
        return upper_cost(request, model, tokens, self._clock.now(), self._targets[0])

    def _cost(self, request: BatchRequest, reply: Reply) -> Decimal:
        if not reply.usage:
            return NOTHING
        label = reply.headers.get(ROUTE_HEADER, "").partition(" ")[0] or reply.headers.get(BACKEND_HEADER, "")
        target = answering(self._targets, label)
        cost = cost_of(
            reply.usage,
            model=reply.model or request.model or self._model or "",
            at=self._clock.now(),
            backend=target.kind,
            price=target.price,
        )
        return NOTHING if cost is None else cost.total

    def _note(self, reply: Reply) -> None:
        progress = self._progress.with_usage(TokenCounts.from_usage(reply.usage))
        if reply.error is None:
            self._progress = replace(progress, answered=progress.answered + 1)
        else:
            self._progress = replace(progress, failed=progress.failed + 1)
        self._tell()

    def _tell(self) -> None:
        self._on_progress(self.progress)


def _always(now: datetime) -> None:
    del now


def _cheap_hours(now: datetime) -> datetime | None:
    return next_off_peak(now) if is_peak(now) else None
