"""The first and the last of a command's output, however much there is."""

from __future__ import annotations

__all__ = ["KeptOutput"]


class KeptOutput:
    """Takes bytes in and keeps the first and the last half of the limit.

    Args:
        limit: Bytes to keep.
    """

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._first = bytearray()
        self._last = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        """Take more of the output in."""
        self.total += len(data)
        room = self._half - len(self._first)
        self._first += data[:room]
        self._last += data[max(0, room) :]
        del self._last[: max(0, len(self._last) - self._half)]

    @property
    def omitted(self) -> int:
        """Bytes between the two halves."""
        return self.total - len(self._first) - len(self._last)

    def text(self) -> str:
        """Return what is kept as text, with a line that says what is not."""
        if not self.omitted:
            return (self._first + self._last).decode("utf-8", "replace")
        first, last = (part.decode("utf-8", "replace") for part in (self._first, self._last))
        return f"{first}\n[{self.omitted} bytes left out]\n{last}"
