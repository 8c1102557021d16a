"""Stop strings over a stream of text: nothing of a match is ever shown, not even its beginning."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["StopMatcher", "held_suffix"]


def held_suffix(text: str, markers: Iterable[str]) -> int:
    """Return the length of the longest end of text that may be the beginning of a marker (0 if none)."""
    longest = 0
    for marker in markers:
        for length in range(min(len(marker) - 1, len(text)), longest, -1):
            if text.endswith(marker[:length]):
                longest = length
                break
    return longest


class StopMatcher:
    """Finds the first stop string in a stream, however the stream is cut.

    The string that is complete first wins; of those complete at once, the longest. Text is held back only
    while it may be the beginning of a stop string.

    Args:
        stop: Strings that end the output; empty ones are ignored.
    """

    def __init__(self, stop: Iterable[str]) -> None:
        self._stop = tuple(string for string in stop if string)
        self._held = ""
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string has been found; nothing is shown after that."""
        return self._stopped

    def push(self, text: str) -> tuple[str, bool]:
        """Take more text; return what may be shown now, and whether the output has ended."""
        if self._stopped:
            return "", True
        pending = self._held + text
        found = ((pending.find(string), string) for string in self._stop)
        match = min(((at + len(string), at) for at, string in found if at >= 0), default=None)
        if match is not None:
            self._held, self._stopped = "", True
            return pending[: match[1]], True
        shown = len(pending) - held_suffix(pending, self._stop)
        self._held = pending[shown:]
        return pending[:shown], False

    def finish(self) -> str:
        """Return the text held back, now that no more will come."""
        held, self._held = self._held, ""
        return held
