"""The scheduler's decision for one step."""

from __future__ import annotations

from dataclasses import dataclass

from local_backend.sequence import Sequence

__all__ = ["ScheduledBatch", "ScheduledSequence"]


@dataclass(frozen=True, slots=True)
class ScheduledSequence:
    """A slice of one sequence to run now: positions [num_computed, num_computed + num_scheduled_tokens)."""

    seq: Sequence
    num_scheduled_tokens: int

    @property
    def samples(self) -> bool:
        """Whether the slice reaches the last token, so that its logits give the next one."""
        return self.num_scheduled_tokens == self.seq.num_uncomputed_tokens


@dataclass(frozen=True, slots=True)
class ScheduledBatch:
    """Everything one forward pass computes."""

    items: tuple[ScheduledSequence, ...]

    @property
    def num_tokens(self) -> int:
        """Rows of the forward pass."""
        return sum(item.num_scheduled_tokens for item in self.items)
