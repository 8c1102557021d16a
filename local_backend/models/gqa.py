"""Grouped-query attention over the paged KV cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.cache.pool import KVPool
from local_backend.cache.tiled_pool import TiledKVPool
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
        pool = ctx.key_values
        pool.write(
            self.layer, ctx.slot_mapping, key, value.view(num_tokens, self.num_kv_heads, self.head_dim)
        )
        rows = [self._attend(query, segment, pool) for segment in ctx.segments]
        return self.o_proj(rows[0] if len(rows) == 1 else torch.cat(rows))

    def _attend(self, query: Tensor, segment: Segment, pool: KVPool | TiledKVPool) -> Tensor:
        key, value = pool.read(self.layer, segment.slots)
        rows = query[segment.start : segment.end]
        return self.kernels.attention(rows, key, value, self.head_dim**-0.5)
