"""How far a batch is: one frozen snapshot, and the counting behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from deepseek_apps.cost import TokenCounts

__all__ = ["BatchProgress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """What is known of a batch at one moment.

    Attributes:
        total: Requests in the input.
        resumed: Of those, answered by earlier runs.
        refused_before: Of those, refused for good in earlier runs, and not sent again.
        answered: Answered by this run.
        failed: Ended by this run without an answer.
        repeated: Times that a request of this run was sent again.
        prompt_tokens, cached_tokens, completion_tokens: Of this run's answers, as the backend reported them.
        cost: USD, earlier runs included where that is known.
        in_flight: Requests that are out.
        limit: How many may be out at once, at the moment.
        seconds: Since this run began, waiting included.
        waiting_until: When requests go out again, if the batch waits for the cheap hours.
    """

    total: int
    resumed: int = 0
    refused_before: int = 0
    answered: int = 0
    failed: int = 0
    repeated: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal = Decimal(0)
    in_flight: int = 0
    limit: int = 1
    seconds: float = 0.0
    waiting_until: datetime | None = None

    @property
    def finished(self) -> int:
        """Requests with a result, by this run or an earlier one."""
        return self.resumed + self.refused_before + self.answered + self.failed

    @property
    def unanswered(self) -> int:
        """Requests without an answer, whatever became of them."""
        return self.total - self.resumed - self.answered

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the end at the pace so far; None before the first result."""
        done = self.answered + self.failed
        return self.seconds / done * (self.total - self.finished) if done else None

    def with_usage(self, counts: TokenCounts) -> BatchProgress:
        """Add the token counts of one answer."""
        return replace(
            self,
            prompt_tokens=self.prompt_tokens + counts.prompt,
            cached_tokens=self.cached_tokens + counts.hit,
            completion_tokens=self.completion_tokens + counts.output,
        )
