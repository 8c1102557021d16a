"""Continuous batching with chunked prefill and preemption by recompute.

Running sequences come first, one token each and the guesses at what follows it; what is left of the token
budget goes to prefill, oldest first. When blocks run out, the youngest running sequence gives its blocks back
and waits again; guesses never take what others need.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from local_backend.cache.block_manager import BlockManager
from local_backend.cache.tiered_prefixes import TieredPrefixes
from local_backend.errors import OutOfBlocksError
from local_backend.scheduler.batch import ScheduledBatch, ScheduledSequence
from local_backend.sequence import FinishReason, Sequence, SequenceStatus

__all__ = ["Scheduler"]


@dataclass(slots=True)
class Scheduler:
    """Decides what the next forward pass computes and keeps every sequence's state.

    Args:
        blocks: Owner of the KV blocks.
        max_num_seqs: Sequences in one batch.
        max_num_batched_tokens: Tokens in one batch.
        prefixes: Brings prefixes back that are no longer, or not yet, in memory.
    """

    blocks: BlockManager
    max_num_seqs: int
    max_num_batched_tokens: int
    waiting: deque[Sequence] = field(default_factory=deque)
    running: list[Sequence] = field(default_factory=list)
    num_preemptions: int = 0
    prefixes: TieredPrefixes | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or running."""
        return not self.waiting and not self.running

    def add(self, seq: Sequence) -> None:
        """Queue a sequence."""
        self.waiting.append(seq)

    def schedule(self, max_prefill_tokens: int | None = None) -> ScheduledBatch:
        """Pick the next batch and reserve its blocks.

        Args:
            max_prefill_tokens: Prompt tokens beside running answers, at most; at least one.

        Raises:
            OutOfBlocksError: The oldest sequence does not fit the pool even alone; the caller must
                finish `oldest`.
        """
        items: list[ScheduledSequence] = []
        budget = self.max_num_batched_tokens
        # Decodes before prefills, so that a long prompt never starves running answers.
        decoding = [seq for seq in self.running if seq.num_uncomputed_tokens <= 1]
        prefilling = [seq for seq in self.running if seq.num_uncomputed_tokens > 1]
        budget = self._continue(decoding, budget, items)
        if items and max_prefill_tokens is not None:
            budget = min(budget, max_prefill_tokens)
        budget = self._continue(prefilling, budget, items)
        while self.waiting and budget and len(self.running) < self.max_num_seqs:
            admitted = self._admit(budget, alone=not items)
            if admitted is None:
                break
            items.append(admitted)
            budget -= admitted.num_scheduled_tokens
        return ScheduledBatch(tuple(item for item in items if item.seq.status is SequenceStatus.RUNNING))

    @property
    def oldest(self) -> Sequence:
        """The sequence that is served before all others."""
        return self.running[0] if self.running else self.waiting[0]

    def commit(self, batch: ScheduledBatch) -> None:
        """Record that the batch's own positions, not the drafts', are computed and publish full blocks."""
        for item in batch.items:
            if item.seq.status is SequenceStatus.RUNNING:
                self.blocks.commit(item.seq, item.num_own_tokens)
                if self.prefixes is not None:
                    self.prefixes.keep(item.seq)

    def accept_draft(self, seq: Sequence) -> None:
        """Record that the last token of a sequence was drafted, so that its position is computed already."""
        self.blocks.commit(seq, 1)

    def finish(self, seq: Sequence, reason: FinishReason) -> None:
        """End a sequence, wherever it is, and free its blocks at once; idempotent."""
        if seq.status is SequenceStatus.FINISHED:
            return
        if seq.status is SequenceStatus.RUNNING:
            self.running.remove(seq)
        else:
            self.waiting.remove(seq)
        self.blocks.release(seq)
        seq.status = SequenceStatus.FINISHED
        seq.finish_reason = reason

    def _admit(self, budget: int, *, alone: bool) -> ScheduledSequence | None:
        """Start the first waiting sequence if its blocks can be had; None leaves it waiting."""
        seq = self.waiting[0]
        was_preempted = seq.num_cached_tokens is not None
        # A preempted one comes back only with room to spare, or the next step would preempt it again.
        wanted = self.blocks.blocks_needed(len(seq) + 1) + len(self.running)
        if was_preempted and not alone and self.blocks.num_available < wanted:
            return None
        if self.prefixes is not None and self.prefixes.bring(seq):
            return None  # the next piece comes before the next step
        found = self.blocks.attach_prefix(seq)
        count = min(seq.num_uncomputed_tokens, budget)
        try:
            self.blocks.grow(seq, seq.num_computed_tokens + count)
        except OutOfBlocksError:
            self.blocks.release(seq)
            if alone:
                raise
            return None
        if seq.num_cached_tokens is None:
            seq.num_cached_tokens = found
        self.waiting.popleft()
        seq.status = SequenceStatus.RUNNING
        self.running.append(seq)
        return ScheduledSequence(seq, count)

    def _continue(self, sequences: list[Sequence], budget: int, items: list[ScheduledSequence]) -> int:
        """Schedule running sequences into `items`; returns what is left of the budget."""
        for seq in sequences:
            count = min(seq.num_uncomputed_tokens, budget)
            if seq.status is SequenceStatus.RUNNING and count and self._reserve(seq, count):
                items.append(self._with_drafts(seq, count, budget))
                budget -= items[-1].num_scheduled_tokens
        return budget

    def _with_drafts(self, seq: Sequence, count: int, budget: int) -> ScheduledSequence:
        """Schedule a running sequence and as much of its draft as needs nothing that others may need."""
        drafts = seq.draft_token_ids[: max(0, budget - count - len(self.running))]
        last = seq.num_computed_tokens + count + len(drafts)
        missing = self.blocks.blocks_needed(last) - len(seq.block_table)
        if not drafts or missing > self.blocks.num_available - len(self.running):
            return ScheduledSequence(seq, count)
        self.blocks.grow(seq, last)
        return ScheduledSequence(seq, count + len(drafts), tuple(drafts))

    def _reserve(self, seq: Sequence, count: int) -> bool:
        """Grow a running sequence, preempting younger ones; False when it had to give way itself."""
        while True:
            try:
                self.blocks.grow(seq, seq.num_computed_tokens + count)
            except OutOfBlocksError:
                victim = self.running[-1]
                if victim is seq and len(self.running) == 1:
                    raise
                self._preempt(victim)
                if victim is seq:
                    return False
            else:
                return True

    def _preempt(self, seq: Sequence) -> None:
        self.running.remove(seq)
        self.blocks.release(seq)
        seq.num_wanted_segments = 0
        seq.draft_token_ids = []
        seq.status = SequenceStatus.WAITING
        self.waiting.appendleft(seq)
        self.num_preemptions += 1
