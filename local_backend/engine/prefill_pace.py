"""How large a piece of a prompt may be while others wait for their next token."""

from __future__ import annotations

__all__ = ["PrefillPace"]

MIN_TOKENS = 64  # fewer make a pass hardly shorter, and a mixture of experts reads all its weights anyway
MEMORY = 0.5  # weight of what was known before the latest pass


class PrefillPace:
    """Finds how many tokens of prompts a pass can take in a given time, from the passes that were run.

    Args:
        seconds: What such a pass may take.
        max_tokens: Most tokens of any pass.
    """

    def __init__(self, seconds: float, max_tokens: int) -> None:
        self._seconds = seconds
        self._max_tokens = max_tokens
        self.tokens = max_tokens
        self._measured = False

    def record(self, num_tokens: int, seconds: float) -> None:
        """Learn that a pass of so many tokens took so long."""
        if num_tokens < MIN_TOKENS // 2:
            return  # decoding, whose rows cost far more each
        fitting = num_tokens * self._seconds / seconds
        if self._measured:
            fitting = MEMORY * self.tokens + (1 - MEMORY) * fitting
        self._measured = True
        self.tokens = max(1, min(self._max_tokens, max(MIN_TOKENS, int(fitting))))
