"""What a forward pass of so many rows costs, learned from the passes that were run."""

from __future__ import annotations

from collections import deque

__all__ = ["PassCosts"]

SAMPLES = 5  # of which the median counts: a busy machine makes single passes slow
STALE = 512  # passes after which a cost that was not measured again is forgotten
ASSUMED_PER_ROW = 0.04  # of a pass's cost, for each further row, where nothing was measured


class PassCosts:
    """Median seconds by number of rows, for small passes: those of decoding.

    Between measured numbers of rows costs are interpolated. Beyond them a further row is assumed to cost
    little, so that it is tried; a number of rows is `known` up to twice the largest measured, so that what is
    tried cannot be much worse than what was measured.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = {}
        self._measured_at: dict[int, int] = {}
        self._points: list[tuple[int, float]] = []
        self._passes = 0

    def record(self, rows: int, seconds: float) -> None:
        """Learn that a pass of so many rows took so long."""
        self._passes += 1
        self._seconds.setdefault(rows, deque(maxlen=SAMPLES)).append(seconds)
        self._measured_at[rows] = self._passes
        for stale in [n for n, at in self._measured_at.items() if self._passes - at > STALE]:
            del self._measured_at[stale], self._seconds[stale]
        self._points = sorted((n, _median(times)) for n, times in self._seconds.items())

    @property
    def known(self) -> int:
        """Most rows to try."""
        return 2 * self._points[-1][0] if self._points else 1

    def of(self, rows: int) -> float:
        """Return the cost of a pass; in seconds, or relative to one row when nothing is measured."""
        below = next((point for point in reversed(self._points) if point[0] <= rows), None)
        above = next((point for point in self._points if point[0] >= rows), None)
        if below and above:
            (fewer, low), (more, high) = below, above
            return low if more == fewer else low + (high - low) * (rows - fewer) / (more - fewer)
        near, cost = below or above or (1, 1.0)
        return cost * (1 + ASSUMED_PER_ROW * rows) / (1 + ASSUMED_PER_ROW * near)


def _median(times: deque[float]) -> float:
    return sorted(times)[len(times) // 2]
