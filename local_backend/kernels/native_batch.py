"""A batch as native calls see it: addresses of slots, turns and block tables, made once per pass."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.kernels.native_structs import AttentionSegment, Batch

__all__ = ["BlockTable", "NativeBatch"]


@dataclass(frozen=True, slots=True)
class BlockTable:
    """Where the context of one sequence's new rows lies.

    Attributes:
        block_ids: In order, covering context_len positions.
        num_rows: New rows, the last of the context.
        context_len: Positions that the last row sees.
    """

    block_ids: Sequence[int]
    num_rows: int
    context_len: int


class NativeBatch:
    """Holds what the struct points to.

    Args:
        rotary: (num_tokens, 1, rotary_dim / 2) complex64.
        slots: (num_tokens,) int64.
        tables: One per sequence, in the order of their rows.

    Attributes:
        pointer: To the whole, as layers take it.
        segments, num_segments: The part that says which positions each row sees.
    """

    def __init__(self, rotary: Tensor, slots: Tensor, tables: Sequence[BlockTable]) -> None:
        self.num_tokens = len(slots)
        blocks = torch.tensor([block for table in tables for block in table.block_ids], dtype=torch.int32)
        segments = (AttentionSegment * len(tables))()
        first_block = first_row = 0
        for segment, table in zip(segments, tables, strict=True):
            segment.block_table = blocks.data_ptr() + first_block * blocks.itemsize
            segment.first_row, segment.num_rows = first_row, table.num_rows
            segment.context_len = table.context_len
            first_block += len(table.block_ids)
            first_row += table.num_rows
        self._alive = (rotary, slots, blocks, segments)
        self._struct = Batch(
            turns=rotary.data_ptr(),
            slots=slots.data_ptr(),
            segments=ctypes.addressof(segments),
            num_segments=len(tables),
            num_tokens=len(slots),
        )
        self.pointer = ctypes.byref(self._struct)
        self.segments, self.num_segments = ctypes.addressof(segments), len(tables)
