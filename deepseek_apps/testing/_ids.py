"""Ids in the API's forms, the same ones in each run of a test. Thread-safe."""

from __future__ import annotations

import hashlib
import itertools
import threading
import uuid

__all__ = ["Ids"]

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Ids:
    """Makes new ids."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def reply_id(self) -> str:
        """Return the id of a reply."""
        return str(uuid.UUID(bytes=self._digest()[:16], version=4))

    def trace_id(self) -> str:
        """Return what `x-ds-trace-id` says."""
        return self._digest()[:16].hex()

    def call_id(self, index: int) -> str:
        """Return the id of a tool call."""
        return f"call_{index:02d}_" + "".join(_DIGITS[byte % len(_DIGITS)] for byte in self._digest()[:24])

    def _digest(self) -> bytes:
        with self._lock:
            number = next(self._numbers)
        return hashlib.sha256(str(number).encode()).digest()
