"""The scheduler's decision for one step."""

from __future__ import annotations

from dataclasses import dataclass

from local_backend.sequence import Sequence

__all__ = ["ScheduledBatch", "ScheduledSequence"]


@dataclass(frozen=True, slots=True)
class ScheduledSequence:
    """A slice of one sequence to run now: positions [num_computed, num_computed + num_scheduled_tokens).

    Attributes:
        seq: The sequence.
        num_scheduled_tokens: Rows of the forward pass, drafts included.
        draft_token_ids: Guesses that stand behind the sequence's own tokens and are the last rows.
    """

    seq: Sequence
    num_scheduled_tokens: int
    draft_token_ids: tuple[int, ...] = ()

    @property
    def num_own_tokens(self) -> int:
        """Rows whose tokens are certain."""
        return self.num_scheduled_tokens - len(self.draft_token_ids)

    @property
    def samples(self) -> int:
        """Rows whose logits are wanted: none before the last token, then it and every draft."""
        return 1 + len(self.draft_token_ids) if self.num_own_tokens == self.seq.num_uncomputed_tokens else 0

    @property
    def token_ids(self) -> list[int]:
        """The tokens of the rows."""
        start = self.seq.num_computed_tokens
        return [*self.seq.token_ids[start : start + self.num_own_tokens], *self.draft_token_ids]


@dataclass(frozen=True, slots=True)
class ScheduledBatch:
    """Everything one forward pass computes."""

    items: tuple[ScheduledSequence, ...]

    @property
    def num_tokens(self) -> int:
        """Rows of the forward pass."""
        return sum(item.num_scheduled_tokens for item in self.items)

    @property
    def num_drafted_tokens(self) -> int:
        """Of them, guesses."""
        return sum(len(item.draft_token_ids) for item in self.items)
