"""The disk tier of the prefix cache: segments of a pool's blocks, kept as files between processes."""

from __future__ import annotations

import hashlib
import logging
from typing import Protocol

from local_backend.cache.block_bytes import BlockBytes
from local_backend.cache.prefix_tier import SegmentName
from local_backend.errors import PrefixCacheError
from local_backend.store.paths import prefixes_dir
from local_backend.store.prefix_files import SegmentFiles
from local_backend.store.prefix_limits import default_limit
from local_backend.store.prefix_writer import PrefixWriter

__all__ = ["BlockPool", "DiskTier", "open_disk_tier", "prefixes_name"]

FORMAT_VERSION = 1
SEGMENT_TOKENS = 256  # a few MB each: few files, large reads, and at most this much computed again
MIN_PROMPT_TOKENS = 512
PIECE_BYTES = 32 << 20  # read between two steps, about 20 ms
QUEUE_BYTES = 64 << 20

_log = logging.getLogger(__name__)


class BlockPool(Protocol):
    """What the tier needs of a pool."""

    @property
    def block_size(self) -> int:
        """Positions per block."""

    @property
    def layout(self) -> str:
        """Names what the bytes of a block mean; goes into the key."""

    def block_bytes(self) -> BlockBytes:
        """View of the tensors as bytes."""


class DiskTier:
    """Keeps segments of one engine's prefixes as files; implements `PrefixTier`.

    Args:
        blocks: The pool's bytes.
        files: Where the segments lie.
        writer: Writes them.
        segment_blocks: Blocks per segment.
        min_prompt_tokens: Shorter prompts are left alone.
    """

    def __init__(
        self,
        blocks: BlockBytes,
        files: SegmentFiles,
        writer: PrefixWriter,
        *,
        segment_blocks: int,
        min_prompt_tokens: int = MIN_PROMPT_TOKENS,
    ) -> None:
        self.segment_blocks = segment_blocks
        self.min_prompt_tokens = min_prompt_tokens
        self.piece_segments = max(1, PIECE_BYTES // files.segment_bytes)
        self._blocks = blocks
        self._files = files
        self._writer = writer
        self._buffer: bytearray | None = None

    def holds(self, name: SegmentName) -> bool:
        """Whether the segment was there just now."""
        return self._files.holds(name)

    def restore(self, name: SegmentName, block_ids: list[int]) -> bool:
        """Fill the segment's last len(block_ids) blocks; False if it cannot be had, whatever the reason."""
        if self._buffer is None:
            self._buffer = bytearray(self._files.segment_bytes)
        if not self._files.read_into(name, memoryview(self._buffer)):
            return False
        self._blocks.write(block_ids, self._buffer)
        return True

    def offer(self, name: SegmentName, block_ids: list[int]) -> bool:
        """Keep a computed segment: copied now, written later; False when the queue has no room now."""
        writer = self._writer
        if writer.closed or writer.is_waiting(name) or self._files.touch(name):
            return True
        if writer.full:
            return False
        writer.put(name, self._blocks.read(block_ids))
        return True

    def close(self) -> None:
        """Write what is queued, for at most two seconds; idempotent."""
        self._writer.close()


def open_disk_tier(pool: BlockPool, weights_name: str, limit: int | None) -> DiskTier | None:
    """Return the disk tier of a pool; None when it is off or cannot be used, which is logged.

    Args:
        pool: The blocks.
        weights_name: What computes them: source hash, quantisation and weight layout (`packed_name`).
        limit: Bytes that prefixes of all models may take; 0 is off, None is `default_limit`.
    """
    if limit == 0:
        return None
    blocks = pool.block_bytes()
    segment_blocks = max(1, SEGMENT_TOKENS // pool.block_size)
    segment_bytes = segment_blocks * blocks.block_bytes
    directory = prefixes_dir() / prefixes_name(weights_name, pool, segment_blocks, segment_bytes)
    try:
        files = SegmentFiles.open(directory, segment_bytes)
        allowed = default_limit() if limit is None else limit
    except (PrefixCacheError, OSError) as error:
        _log.warning("%s", error)
        return None
    writer = PrefixWriter(files, limit=allowed, queue_bytes=QUEUE_BYTES)
    return DiskTier(blocks, files, writer, segment_blocks=segment_blocks)


def prefixes_name(weights_name: str, pool: BlockPool, segment_blocks: int, segment_bytes: int) -> str:
    """Directory of the prefixes that one model, computed and kept in one way, can use.

    Args:
        weights_name: What computes them (`packed_name`).
        pool: Says how they are kept.
        segment_blocks, segment_bytes: Size of a segment; one with a prediction module's cache is larger.
    """
    shape = f"{pool.block_size}x{segment_blocks}x{segment_bytes}"
    kept = f"{weights_name}|{pool.layout}|{shape}|v{FORMAT_VERSION}"
    source_hash = weights_name.partition("-")[0]
    return f"{source_hash}-{hashlib.blake2b(kept.encode(), digest_size=16).hexdigest()}"
