"""Turn a scheduled batch into tensors, run the model, return logits. The only builder of tensors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from local_backend.cache.pool import KVPool
from local_backend.layers.forward_context import ForwardContext, Segment
from local_backend.layers.rope import rotary_table
from local_backend.models.dense import DenseModel
from local_backend.scheduler.batch import ScheduledBatch, ScheduledSequence

__all__ = ["ModelRunner"]


class ModelRunner:
    """Runs batches of one model over one KV pool."""

    def __init__(self, model: DenseModel, pool: KVPool) -> None:
        self.model = model
        self.pool = pool
        self._rotary = rotary_table(model.config, pool.max_model_len)

    def run(self, batch: ScheduledBatch, aborted: Callable[[], bool]) -> Tensor:
        """Compute the batch; returns float32 logits, one row per item that samples, in order.

        Raises:
            ForwardAbortedError: aborted() became true on the way.
        """
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        segments: list[Segment] = []
        sampled: list[int] = []
        for item in batch.items:
            start, stop = (
                item.seq.num_computed_tokens,
                item.seq.num_computed_tokens + item.num_scheduled_tokens,
            )
            segments.append(self._segment(item, len(ids), stop))
            ids.extend(item.seq.token_ids[start:stop])
            positions.extend(range(start, stop))
            slots.extend(self._slots(item, start, stop))
            if item.samples:
                sampled.append(len(ids) - 1)
        ctx = ForwardContext(
            rotary=self._rotary[torch.tensor(positions)],
            slot_mapping=_as_range(slots),
            segments=tuple(segments),
            sampled_rows=torch.tensor(sampled, dtype=torch.int64),
            pool=self.pool,
            aborted=aborted,
        )
        with torch.inference_mode():
            return self.model.forward(torch.tensor(ids), ctx)

    def _segment(self, item: ScheduledSequence, first_row: int, context_len: int) -> Segment:
        return Segment(
            start=first_row,
            end=first_row + item.num_scheduled_tokens,
            context_len=context_len,
            slots=self._context_slots(item.seq.block_table, context_len),
        )

    def _context_slots(self, block_table: list[int], context_len: int) -> tuple[int, int] | Tensor:
        """Slots of positions [0, context_len): a range when the blocks are consecutive, else an index."""
        size = self.pool.block_size
        blocks = block_table[: -(-context_len // size)]
        if blocks[-1] - blocks[0] == len(blocks) - 1 and blocks == list(range(blocks[0], blocks[-1] + 1)):
            first = blocks[0] * size
            return first, first + context_len
        slots = torch.tensor(blocks)[:, None] * size + torch.arange(size)
        return slots.view(-1)[:context_len]

    def _slots(self, item: ScheduledSequence, start: int, stop: int) -> list[int]:
        size, table = self.pool.block_size, item.seq.block_table
        return [table[position // size] * size + position % size for position in range(start, stop)]


def _as_range(slots: list[int]) -> tuple[int, int] | Tensor:
    if slots[-1] - slots[0] == len(slots) - 1 and all(b - a == 1 for a, b in pairwise(slots)):
        return slots[0], slots[-1] + 1
    return torch.tensor(slots)
