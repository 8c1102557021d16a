"""Time for tests of batches: waiting takes none, and everybody who waits moves it on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class BatchClock:
    """A clock that only sleeping, or a test, moves."""

    def __init__(self, at: datetime = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)) -> None:
        self.start = at
        self.elapsed = 0.0

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        end = self.elapsed + seconds
        await asyncio.sleep(0.001)
        self.elapsed = max(self.elapsed, end)
