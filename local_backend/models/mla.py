"""Multi-head latent attention over the paged latent cache (DeepSeek-V2 paper, section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from local_backend.architecture import MLAConfig
from local_backend.cache.latent_pool import LatentPool
from local_backend.cache.tiled_latents import TiledLatentPool
from local_backend.kernels.base import Kernels
from local_backend.layers.forward_context import ForwardContext, Segment
from local_backend.layers.latent_attention import (
    absorbed_attention,
    absorbed_is_cheaper,
    expanded_attention,
)
from local_backend.layers.latent_rotation import LatentRotation
from local_backend.layers.linear import Linear, StackedLinear
from local_backend.layers.rope import apply_rotary

__all__ = ["AttentionForm", "LatentQuery", "MLAttention", "QueryUp"]

AttentionForm = Literal["auto", "expanded", "absorbed"]
AnyLatents = LatentPool | TiledLatentPool
LATENT_NORM_EPS = 1e-6  # the published code's default; rms_norm_eps is for the other norms


@dataclass(frozen=True, slots=True)
class QueryUp:
    """From the query latent to the heads' queries, where there is a query latent."""

    q_a_layernorm: Tensor
    q_b_proj: Linear

    def __call__(self, q_latent: Tensor, kernels: Kernels) -> Tensor:
        """Map (num_tokens, q_lora_rank) to (num_tokens, num_heads * qk_head_dim)."""
        return self.q_b_proj(kernels.rms_norm(q_latent.float(), self.q_a_layernorm, LATENT_NORM_EPS))


@dataclass(frozen=True, slots=True)
class LatentQuery:
    """Queries of the batch, float32, rotated."""

    q_nope: Tensor  # (num_tokens, num_heads, qk_nope_head_dim)
    q_pe: Tensor  # (num_tokens, num_heads, qk_rope_head_dim)


@dataclass(frozen=True, slots=True)
class MLAttention:
    """Attention whose keys and values are maps of one small latent per token.

    Attributes:
        a_proj: q_a_proj (or q_proj) and kv_a_proj_with_mqa, which share their input.
        query_up: None when a_proj gives the queries themselves.
        k_up, v_up: The two halves of kv_b_proj, dense: (num_heads, qk_nope_head_dim, kv_lora_rank) and
            (num_heads, v_head_dim, kv_lora_rank), in the kernels' type.
        layer: Index into the pool.
        scale: Factor on the scores, YaRN's part included.
        form: "auto" takes whichever is cheaper; the others are for comparison.
        rotation: The basis that latents are cached in, which k_up and v_up undo; None keeps them as they are.
    """

    mla: MLAConfig
    a_proj: StackedLinear
    query_up: QueryUp | None
    kv_a_layernorm: Tensor
    k_up: Tensor
    v_up: Tensor
    o_proj: Linear
    kernels: Kernels
    layer: int
    scale: float
    form: AttentionForm = "auto"
    rotation: LatentRotation | None = None

    def __call__(self, hidden: Tensor, ctx: ForwardContext) -> Tensor:
        """Map normalised (num_tokens, hidden_size) to the attention output of the same shape."""
        mla, num_tokens = self.mla, hidden.shape[0]
        query, kv_a = self.a_proj(hidden)
        if self.query_up is not None:
            query = self.query_up(query, self.kernels)
        heads = query.reshape(num_tokens, -1, mla.qk_head_dim).float()
        q_nope, q_pe = torch.split(heads, [mla.qk_nope_head_dim, mla.qk_rope_head_dim], dim=-1)
        kv_latent, k_pe = torch.split(kv_a.float(), [mla.kv_lora_rank, mla.qk_rope_head_dim], dim=-1)
        kv_latent = self.kernels.rms_norm(kv_latent, self.kv_a_layernorm, LATENT_NORM_EPS)
        # One product turns the shared key along with the queries.
        turned = apply_rotary(torch.cat((q_pe, k_pe[:, None]), dim=1), ctx.rotary)
        q_pe, k_pe = turned[:, :-1], turned[:, -1]
        if self.rotation is not None:
            q_pe = self.rotation.queries(q_pe)
            kv_latent, k_pe = self.rotation.keys(kv_latent.float(), k_pe)
        pool = ctx.latents
        pool.write(self.layer, ctx.slot_mapping, kv_latent, k_pe)
        batch = LatentQuery(q_nope, q_pe)
        rows = [self._attend(batch, segment, pool) for segment in ctx.segments]
        return self.o_proj((rows[0] if len(rows) == 1 else torch.cat(rows)).flatten(1))

    def _attend(self, batch: LatentQuery, segment: Segment, pool: AnyLatents) -> Tensor:
        """Attention output of one sequence, (num_tokens, num_heads, v_head_dim) float32."""
        rows = slice(segment.start, segment.end)
        query = LatentQuery(batch.q_nope[rows], batch.q_pe[rows])
        absorbed = self.form == "absorbed" or (
            self.form == "auto" and absorbed_is_cheaper(self.mla, segment.num_tokens, segment.context_len)
        )
        return (self._attend_absorbed if absorbed else self._attend_expanded)(query, segment, pool)

    def _attend_absorbed(self, query: LatentQuery, segment: Segment, pool: AnyLatents) -> Tensor:
        # (num_heads, num_tokens, qk_nope_head_dim) x (num_heads, qk_nope_head_dim, kv_lora_rank)
        mapped = torch.bmm(query.q_nope.transpose(0, 1).to(self.k_up.dtype), self.k_up)
        full = torch.cat((mapped.transpose(0, 1).float(), query.q_pe), dim=-1)
        attended = absorbed_attention(
            full,
            lambda first, last: pool.read(self.layer, segment.slots_between(first, last), torch.float32),
            segment.context_len,
            self.mla.kv_lora_rank,
            self.scale,
        )
        out = torch.bmm(attended.transpose(0, 1).to(self.v_up.dtype), self.v_up.transpose(1, 2))
        return out.transpose(0, 1).float()

    def _attend_expanded(self, query: LatentQuery, segment: Segment, pool: AnyLatents) -> Tensor:
        latents = pool.read(self.layer, segment.slots, torch.float32)
        full = torch.cat((query.q_nope, query.q_pe), dim=-1)
        return expanded_attention(full, latents, self.k_up, self.v_up, self.scale)
