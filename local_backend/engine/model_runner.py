"""Turn a scheduled batch into tensors, run the model, return logits. The only builder of tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.cache.pool import Pool
from local_backend.kernels.native_batch import BlockTable, NativeBatch
from local_backend.layers.forward_context import ForwardContext, Segment
from local_backend.layers.rope import rotary_table
from local_backend.models.decoder import Decoder, DecoderOutput
from local_backend.scheduler.batch import ScheduledBatch

__all__ = ["ModelRunner", "SequenceRows"]


@dataclass(frozen=True, slots=True)
class SequenceRows:
    """Consecutive positions of one sequence in a pass.

    Attributes:
        block_table: The sequence's blocks; they cover all positions up to the last row's.
        start: Position of the first row.
        token_ids: One per row.
        samples: How many of the last rows' logits are wanted.
    """

    block_table: list[int]
    start: int
    token_ids: list[int]
    samples: int

    @property
    def stop(self) -> int:
        """Position past the last row's."""
        return self.start + len(self.token_ids)


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
        layers = [*model.layers, *([] if model.mtp is None else [model.mtp.layer])]
        self._reads_segments = any(layer.native_attention is None for layer in layers)
        self._reads_batch = any(layer.native_attention is not None for layer in layers)
        self.expert_counts = None if model.config.moe is None else self._no_counts(model.config)

    def run(self, batch: ScheduledBatch, aborted: Callable[[], bool]) -> DecoderOutput:
        """Compute the batch; logits are those of the rows that items sample from, in order, on the CPU.

        Raises:
            ForwardAbortedError: aborted() became true on the way.
        """
        rows = [
            SequenceRows(item.seq.block_table, item.seq.num_computed_tokens, item.token_ids, item.samples)
            for item in batch.items
        ]
        counts = None if self.expert_counts is None else torch.zeros_like(self.expert_counts)
        ctx = self._context(rows, aborted, counts)
        with torch.inference_mode():
            logits, hidden = self.model.forward(self._token_ids(rows), ctx)
        if self.expert_counts is not None and counts is not None:
            self.expert_counts += counts
        return DecoderOutput(logits.cpu(), hidden)

    def run_mtp(self, rows: list[SequenceRows], previous: Tensor) -> tuple[Tensor, Tensor]:
        """Run the model's prediction module; arguments and results are those of MTPModule.forward.

        Args:
            rows: Positions of the hidden states, each with the token that follows it.
            previous: (num_tokens, hidden_size) hidden states, normalised.
        """
        assert self.model.mtp is not None
        with torch.inference_mode():
            return self.model.mtp.forward(
                previous.float(), self._token_ids(rows), self._context(rows, lambda: False, None)
            )

    def normalised(self, hidden: Tensor, rows: range) -> Tensor:
        """Pick rows of a pass's hidden states, behind the final norm."""
        with torch.inference_mode():
            return self.model.normalised(hidden[rows.start : rows.stop])

    def _context(
        self, rows: list[SequenceRows], aborted: Callable[[], bool], expert_counts: Tensor | None
    ) -> ForwardContext:
        positions: list[int] = []
        slots: list[int] = []
        segments: list[Segment] = []
        sampled: list[int] = []
        for row in rows:
            if self._reads_segments:
                segments.append(self._segment(row, len(positions)))
            positions.extend(range(row.start, row.stop))
            slots.extend(self._slots(row))
            sampled.extend(range(len(positions) - row.samples, len(positions)))
        rotary = self._rotary[self._tensor(positions)]
        return ForwardContext(
            rotary=rotary,
            slot_mapping=self._as_range(slots),
            segments=tuple(segments),
            sampled_rows=self._tensor(sampled),
            pool=self.pool,
            expert_counts=expert_counts,
            aborted=aborted,
            batch=self._native_batch(rows, rotary, slots) if self._reads_batch else None,
        )

    def _native_batch(self, rows: list[SequenceRows], rotary: Tensor, slots: list[int]) -> NativeBatch:
        tables = [
            BlockTable(row.block_table[: -(-row.stop // self.pool.block_size)], len(row.token_ids), row.stop)
            for row in rows
        ]
        return NativeBatch(rotary, self._tensor(slots), tables)

    def _segment(self, row: SequenceRows, first_row: int) -> Segment:
        return Segment(
            start=first_row,
            end=first_row + len(row.token_ids),
            context_len=row.stop,
            slots=self._context_slots(row.block_table, row.stop),
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

    def _slots(self, row: SequenceRows) -> list[int]:
        size, table = self.pool.block_size, row.block_table
        return [table[position // size] * size + position % size for position in range(row.start, row.stop)]

    def _token_ids(self, rows: list[SequenceRows]) -> Tensor:
        return self._tensor([token_id for row in rows for token_id in row.token_ids])

    def _as_range(self, slots: list[int]) -> tuple[int, int] | Tensor:
        if slots[-1] - slots[0] == len(slots) - 1 and all(b - a == 1 for a, b in pairwise(slots)):
            return slots[0], slots[-1] + 1
        return self._tensor(slots)

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)

    def _no_counts(self, config: ModelConfig) -> Tensor:
        experts = config.moe.n_routed_experts if config.moe else 0
        return torch.zeros(config.num_hidden_layers, experts, dtype=torch.int64, device=self._device)
