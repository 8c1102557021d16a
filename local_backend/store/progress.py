"""What a pull tells its caller while it runs: data only, nothing is printed here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["ProgressCallback", "ProgressReporter", "PullPhase", "PullProgress"]

PullPhase = Literal["wait", "verify", "hub", "mirror"]

MIN_SECONDS_BETWEEN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """Where a pull stands.

    Attributes:
        phase: "wait" (another process pulls this model), "verify" (hashing bytes that are already here),
            or the source that bytes come from: "hub" or "mirror".
        bytes_done: Bytes of the file that are here (or hashed, in "verify"). Never falls within a phase.
        bytes_total: Size of the file.
        note: A sentence for a person, on the event that opens a phase or changes its course; else empty.
    """

    phase: PullPhase
    bytes_done: int
    bytes_total: int
    note: str = ""


ProgressCallback = Callable[[PullProgress], None]


class ProgressReporter:
    """Passes events on, at most about ten a second; notes and completed phases always pass."""

    def __init__(self, callback: ProgressCallback | None, *, bytes_total: int) -> None:
        self._callback = callback
        self._bytes_total = bytes_total
        self._last_time = 0.0

    def report(self, phase: PullPhase, bytes_done: int, note: str = "") -> None:
        """Tell the caller; cheap enough to call for every chunk."""
        if self._callback is None:
            return
        now = time.monotonic()
        due = now - self._last_time >= MIN_SECONDS_BETWEEN
        if due or note or bytes_done >= self._bytes_total:
            self._last_time = now
            self._callback(
                PullProgress(phase=phase, bytes_done=bytes_done, bytes_total=self._bytes_total, note=note)
            )
