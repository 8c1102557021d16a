"""Moves segments of prefixes between the blocks in memory and a slower tier. Plain Python, no tensors.

A prompt is offered to the tier as it is computed. What of it has left the memory, or was computed by another
process, is brought back into cached blocks before the sequence is admitted, a piece between two steps; the
sequence then finds it like any other cached prefix.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_backend.cache.block_manager import BlockManager
from local_backend.cache.prefix_tier import PrefixTier, SegmentName
from local_backend.sequence import Sequence

__all__ = ["TieredPrefixes"]


@dataclass(frozen=True, slots=True)
class TieredPrefixes:
    """The prefix cache's two tiers.

    Args:
        blocks: The fast one.
        tier: The slow one.
    """

    blocks: BlockManager
    tier: PrefixTier

    def bring(self, seq: Sequence) -> bool:
        """Bring a piece of a waiting sequence's prefix into memory; whether there may be more of it.

        Every segment is asked for once (`Sequence.num_wanted_segments`), so calling this until it returns
        False ends.
        """
        if seq.num_prompt_tokens < self.tier.min_prompt_tokens:
            return False
        return all(self._bring_segment(seq) for _ in range(self.tier.piece_segments))

    def keep(self, seq: Sequence) -> None:
        """Offer the tier what has been computed of a running sequence's prompt."""
        if seq.num_prompt_tokens < self.tier.min_prompt_tokens:
            return
        size = self.tier.segment_blocks
        computed = min(seq.num_computed_tokens, seq.num_prompt_tokens) // (size * self.blocks.block_size)
        while seq.num_offered_segments < computed:
            first = seq.num_offered_segments * size
            if not self.tier.offer(
                self._name(seq, seq.num_offered_segments), seq.block_table[first : first + size]
            ):
                return
            seq.num_offered_segments += 1

    def _bring_segment(self, seq: Sequence) -> bool:
        """Bring the segment with the first missing block; whether to go on with the next."""
        size = self.tier.segment_blocks
        whole = self.blocks.reusable_blocks(seq) // size  # a part of a segment cannot be had
        found = self.blocks.refresh_prefix(seq, whole * size)
        segment = found.num_blocks // size
        if segment == whole or segment < seq.num_wanted_segments:
            return False
        missing = (segment + 1) * size - found.num_blocks
        if missing > self.blocks.num_available - found.num_evictable:
            return False  # it would push out its own beginning
        seq.num_wanted_segments = segment + 1
        name = self._name(seq, segment)
        if not self.tier.holds(name):
            return False
        block_ids = self.blocks.take(missing, after=found.last_block)
        restored = self.tier.restore(name, block_ids)
        if restored:
            self.blocks.publish(seq, found.num_blocks, block_ids)
        self.blocks.give_back(block_ids)
        return restored

    def _name(self, seq: Sequence, segment: int) -> SegmentName:
        size = self.tier.segment_blocks
        parent = self.blocks.hash_of(seq, segment * size - 1) if segment else b""
        return SegmentName(self.blocks.hash_of(seq, (segment + 1) * size - 1), parent)
