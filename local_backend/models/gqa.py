"""Grouped-query attention over the paged KV cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.kernels.base import Kernels
from local_backend.layers.forward_context import ForwardContext, Segment
from local_backend.layers.linear import Linear, StackedLinear
from local_backend.layers.rope import apply_rotary

__all__ = ["GroupedQueryAttention"]


@dataclass(frozen=True, slots=True)
class GroupedQueryAttention:
    """Attention whose query heads share key heads in groups (Ainslie et al. 2023).

    Attributes:
        qkv_proj: Query, key and value projections, rotary rows interleaved.
        layer: Index into the KV pool.
    """

    qkv_proj: StackedLinear
    o_proj: Linear
    kernels: Kernels
    layer: int
    num_heads: int
    num_kv_heads: int
    head_dim: int

    def __call__(self, hidden: Tensor, ctx: ForwardContext) -> Tensor:
        """Map normalised (num_tokens, hidden_size) to the attention output of the same shape."""
        query, key, value = self.qkv_proj(hidden)
        num_tokens = hidden.shape[0]
        query = query.reshape(num_tokens, self.num_heads, self.head_dim)
        key = key.reshape(num_tokens, self.num_kv_heads, self.head_dim)
        # Both turned in one product: (num_tokens, num_heads + num_kv_heads, head_dim) float32
        turned = apply_rotary(torch.cat((query, key), dim=1).float(), ctx.rotary)
        query, key = torch.split(turned, [self.num_heads, self.num_kv_heads], dim=1)
        keys, values = ctx.pool.keys[self.layer], ctx.pool.values[self.layer]
        _write(keys, ctx.slot_mapping, key)
        _write(values, ctx.slot_mapping, value.view(num_tokens, self.num_kv_heads, self.head_dim))
        rows = [self._attend(query, segment, keys, values) for segment in ctx.segments]
        return self.o_proj(rows[0] if len(rows) == 1 else torch.cat(rows))

    def _attend(self, query: Tensor, segment: Segment, keys: Tensor, values: Tensor) -> Tensor:
        rows = query[segment.start : segment.end]
        key, value = _read(keys, segment.slots), _read(values, segment.slots)
        return self.kernels.attention(rows, key, value, self.head_dim**-0.5)


def _write(pool: Tensor, slots: tuple[int, int] | Tensor, rows: Tensor) -> None:
    if isinstance(slots, tuple):
        pool[slots[0] : slots[1]].copy_(rows)
    else:
        pool.index_copy_(0, slots, rows.to(pool.dtype))


def _read(pool: Tensor, slots: tuple[int, int] | Tensor) -> Tensor:
    return pool[slots[0] : slots[1]] if isinstance(slots, tuple) else pool.index_select(0, slots)
