"""The context cache: whole blocks of 128 tokens, apart for each `user_id` and model.

128 is what recorded hits of 2026 are multiples of. Units are written for prompt and answer of every request
at once; the real cache takes seconds and promises nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence

__all__ = ["BLOCK_TOKENS", "PromptCache"]

BLOCK_TOKENS = 128


class PromptCache:
    """Remembers prefixes in blocks. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[int] = set()

    def hit(self, salt: Hashable, ids: Sequence[Hashable]) -> int:
        """Return how many of the first tokens are known: a multiple of BLOCK_TOKENS."""
        with self._lock:
            hit = 0
            for end, key in _blocks(salt, ids):
                if key not in self._known:
                    break
                hit = end
            return hit

    def store(self, salt: Hashable, ids: Sequence[Hashable]) -> None:
        """Remember the whole blocks of a prefix."""
        with self._lock:
            self._known.update(key for _, key in _blocks(salt, ids))


def _blocks(salt: Hashable, ids: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """Give the end of each whole block and a key for everything up to there."""
    key = hash(salt)
    for end in range(BLOCK_TOKENS, len(ids) + 1, BLOCK_TOKENS):
        key = hash((key, tuple(ids[end - BLOCK_TOKENS : end])))
        yield end, key
