"""Writes results to the disk one by one without a wait per result: those that are ready share one sync."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from deepseek_apps.batch.results import BatchResults

__all__ = ["Journal"]


class Journal:
    """Appends results from many tasks to one file, in a thread of its own.

    Args:
        results: The open output file.
    """

    def __init__(self, results: BatchResults) -> None:
        self._results = results
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch-journal")
        self._lock = asyncio.Lock()
        self._queued: list[bytes] = []
        self._taken = 0
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        # Tasks that were cancelled while they waited have paid for these.
        queued, self._queued = self._queued, []
        if queued:
            self._results.append(queued)

    async def write(self, line: bytes) -> None:
        """Return once the line is on the disk.

        Raises:
            BatchOutputError: It cannot be written.
        """
        self._queued.append(line)
        self._taken += 1
        number = self._taken
        async with self._lock:
            if self._written >= number:
                return
            lines, self._queued = self._queued, []
            up_to = self._taken
            await asyncio.get_running_loop().run_in_executor(self._thread, self._results.append, lines)
            self._written = up_to
