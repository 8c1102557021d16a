"""A tier of the prefix cache in a dict, with everything that can go wrong with one on disk."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from local_backend.cache.prefix_tier import SegmentName

Contents = MutableMapping[int, Any]


@dataclass
class DictTier:
    """Copies what `contents` says of blocks; two tiers over one `kept` are two processes.

    Attributes:
        contents: What each block of the pool holds.
        kept: The segments.
        damaged: Names that are there but cannot be read.
        full: Whether offers are refused for now.
    """

    contents: Contents
    kept: dict[SegmentName, list[Any]]
    segment_blocks: int = 2
    min_prompt_tokens: int = 0
    piece_segments: int = 2
    damaged: set[SegmentName] = field(default_factory=set)
    full: bool = False
    closed: bool = False

    def holds(self, name: SegmentName) -> bool:
        return name in self.kept

    def restore(self, name: SegmentName, block_ids: list[int]) -> bool:
        if name in self.damaged:
            self.kept.pop(name)
            self.damaged.remove(name)
            return False
        for block_id, content in zip(reversed(block_ids), reversed(self.kept[name]), strict=False):
            self.contents[block_id] = content
        return True

    def offer(self, name: SegmentName, block_ids: list[int]) -> bool:
        if not self.full:
            assert len(block_ids) == self.segment_blocks
            self.kept.setdefault(name, [self.contents[block_id] for block_id in block_ids])
        return not self.full

    def close(self) -> None:
        self.closed = True
