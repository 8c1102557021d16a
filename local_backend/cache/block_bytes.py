"""Blocks of a pool as bytes, so that they can be kept outside of it. Knows sizes, not what the bytes mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BlockBytes"]


@dataclass(frozen=True, slots=True)
class BlockBytes:
    """Copies runs of blocks out of, and into, a pool's tensors.

    The bytes of n blocks are, tensor by tensor, those of the n blocks in order.

    Attributes:
        planes: Per tensor of the pool (num_blocks, bytes per block) uint8, sharing its memory.
    """

    planes: tuple[Tensor, ...]

    @classmethod
    def of(cls, tensors: Sequence[Tensor], num_blocks: int) -> BlockBytes:
        """View a pool's tensors.

        Args:
            tensors: Contiguous; each one's first dimension is divided evenly among the blocks, in order.
            num_blocks: Blocks in the pool.
        """
        return cls(tuple(tensor.view(num_blocks, -1).view(torch.uint8) for tensor in tensors))

    @property
    def block_bytes(self) -> int:
        """Bytes of one block over all tensors."""
        return sum(plane.shape[1] for plane in self.planes)

    def read(self, block_ids: list[int]) -> bytearray:
        """Return the blocks' bytes."""
        data = bytearray(len(block_ids) * self.block_bytes)
        for plane, part in self._parts(data, len(block_ids)):
            for first, count, block_id in _runs(block_ids):
                part[first : first + count].copy_(plane[block_id : block_id + count])
        return data

    def write(self, block_ids: list[int], data: bytearray | memoryview) -> None:
        """Put bytes from `read` back; of fewer blocks than were read, the last ones.

        Args:
            block_ids: Where the last len(block_ids) of the blocks go.
            data: What `read` returned, whole and writable.
        """
        num_blocks = len(data) // self.block_bytes
        skipped = num_blocks - len(block_ids)
        for plane, part in self._parts(data, num_blocks):
            for first, count, block_id in _runs(block_ids):
                plane[block_id : block_id + count].copy_(part[skipped + first : skipped + first + count])

    def _parts(self, data: bytearray | memoryview, num_blocks: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every plane with its share of the data, (num_blocks, bytes per block)."""
        flat, start = torch.frombuffer(data, dtype=torch.uint8), 0
        for plane in self.planes:
            size = num_blocks * plane.shape[1]
            yield plane, flat[start : start + size].view(num_blocks, -1)
            start += size


def _runs(block_ids: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (index, length, first id) of each run of consecutive ids."""
    start = 0
    for index in range(1, len(block_ids) + 1):
        if index == len(block_ids) or block_ids[index] != block_ids[index - 1] + 1:
            yield start, index - start, block_ids[start]
            start = index
