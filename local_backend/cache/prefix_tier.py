"""What a slower tier of the prefix cache must do for the block manager; store/disk_tier.py is the real one.

It keeps *segments*: a fixed number of consecutive full blocks of some prefix, named by the chain hash of the
last one, which stands for all tokens up to there. Plain Python, no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["PrefixTier", "SegmentName"]


@dataclass(frozen=True, slots=True)
class SegmentName:
    """Names a segment, and the one before it of the same prefix.

    Attributes:
        key: Chain hash of its last block.
        parent: Key of the segment before; empty for the first.
    """

    key: bytes
    parent: bytes = b""


class PrefixTier(Protocol):
    """Keeps segments beyond the life of their blocks. Called from the engine thread; nothing raises."""

    @property
    def segment_blocks(self) -> int:
        """Blocks per segment."""

    @property
    def min_prompt_tokens(self) -> int:
        """Shorter prompts are neither kept nor looked for: computing them costs little."""

    @property
    def piece_segments(self) -> int:
        """Segments to read between two steps, so that running requests hardly wait."""

    def holds(self, name: SegmentName) -> bool:
        """Whether the segment was there just now."""

    def restore(self, name: SegmentName, block_ids: list[int]) -> bool:
        """Fill the segment's last len(block_ids) blocks; False if it cannot be had, whatever the reason."""

    def offer(self, name: SegmentName, block_ids: list[int]) -> bool:
        """Keep a segment that has been computed; copies it before returning, writes it later.

        Returns:
            False when there is no room in the queue now; ask again. True when it is, or need not be, kept.
        """

    def close(self) -> None:
        """Write what is queued, for a moment; idempotent."""
