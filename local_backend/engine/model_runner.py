"""Turn a scheduled batch into tensors, run the model, return logits. The only builder of tensors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.cache.pool import Pool
from local_backend.kernels.native_batch import BlockTable, NativeBatch
from local_backend.layers.forward_context import ForwardContext, Segment
from local_backend.layers.rope import rotary_table
from local_backend.models.decoder import Decoder
from local_backend.scheduler.batch import ScheduledBatch, ScheduledSequence

__all__ = ["ModelRunner"]


class ModelRunner:
    """Runs batches of one model over one pool.

    Attributes:
        expert_counts: How often each expert was chosen so far, (num_hidden_layers, n_routed_experts) int64;
            None without experts.
    """

    def __init__(self, model: Decoder, pool: Pool) -> None:
        self.model = model
        self.pool = pool
        self._device = model.kernels.device
        self._rotary = rotary_table(model.config, pool.max_model_len).to(self._device)
        self._reads_segments = any(layer.native_attention is None for layer in model.layers)
        self.expert_counts = None if model.config.moe is None else self._no_counts(model.config)

    def run(self, batch: ScheduledBatch, aborted: Callable[[], bool]) -> Tensor:
        """Compute the batch; returns float32 logits of the rows that items sample from, in order.

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
            if self._reads_segments:
                segments.append(self._segment(item, len(ids), stop))
            ids.extend(item.token_ids)
            positions.extend(range(start, stop))
            slots.extend(self._slots(item, start, stop))
            sampled.extend(range(len(ids) - item.samples, len(ids)))
        rotary = self._rotary[self._tensor(positions)]
        ctx = ForwardContext(
            rotary=rotary,
            slot_mapping=self._as_range(slots),
            segments=tuple(segments),
            sampled_rows=self._tensor(sampled),
            pool=self.pool,
            expert_counts=None if self.expert_counts is None else torch.zeros_like(self.expert_counts),
            aborted=aborted,
            batch=self._native_batch(batch, rotary, slots),
        )
        with torch.inference_mode():
            logits = self.model.forward(self._tensor(ids), ctx)
        if self.expert_counts is not None and ctx.expert_counts is not None:
            self.expert_counts += ctx.expert_counts
        return logits.cpu()

    def _native_batch(self, batch: ScheduledBatch, rotary: Tensor, slots: list[int]) -> NativeBatch | None:
        if not self.model.has_native_attention:
            return None
        tables = []
        for item in batch.items:
            context_len = item.seq.num_computed_tokens + item.num_scheduled_tokens
            num_blocks = -(-context_len // self.pool.block_size)
            tables.append(
                BlockTable(item.seq.block_table[:num_blocks], item.num_scheduled_tokens, context_len)
            )
        return NativeBatch(rotary, self._tensor(slots), tables)

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
        slots = self._tensor(blocks)[:, None] * size + torch.arange(size, device=self._device)
        return slots.view(-1)[:context_len]

    def _slots(self, item: ScheduledSequence, start: int, stop: int) -> list[int]:
        size, table = self.pool.block_size, item.seq.block_table
        return [table[position // size] * size + position % size for position in range(start, stop)]

    def _as_range(self, slots: list[int]) -> tuple[int, int] | Tensor:
        if slots[-1] - slots[0] == len(slots) - 1 and all(b - a == 1 for a, b in pairwise(slots)):
            return slots[0], slots[-1] + 1
        return self._tensor(slots)

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)

    def _no_counts(self, config: ModelConfig) -> Tensor:
        experts = config.moe.n_routed_experts if config.moe else 0
        return torch.zeros(config.num_hidden_layers, experts, dtype=torch.int64, device=self._device)
