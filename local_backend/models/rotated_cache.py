"""Turns latent attention into its form over a rotated cache, where rounding costs least.

What comes out of the attention stays the same up to float rounding; see layers/latent_rotation.py for why.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from local_backend.architecture import MLAConfig
from local_backend.layers.hadamard import Hadamard
from local_backend.layers.latent_rotation import LatentRotation, balance
from local_backend.layers.linear import Linear
from local_backend.models.mla import MLAttention

__all__ = ["CacheRotator"]

QUERY_HEADS = 16  # whose weights are looked at; all 128 of DeepSeek-V2 would take a minute


class CacheRotator:
    """Rotates the layers of one model, which share their rotations."""

    def __init__(self, mla: MLAConfig, device: torch.device) -> None:
        self._mla = mla
        self._latent = Hadamard.of_size(mla.kv_lora_rank, device)
        self._rotary = Hadamard.of_size(mla.qk_rope_head_dim, device)

    def rotated(self, attention: MLAttention, input_layernorm: Tensor) -> MLAttention:
        """Return the same attention over a rotated cache.

        Args:
            attention: With an unrotated one.
            input_layernorm: Weight of the norm before it, which says how large its inputs are.
        """
        mla, weight = self._mla, attention.kv_a_layernorm
        into_cache = attention.a_proj.groups[-1]
        last = into_cache.weight.rows
        kv_rows = _row_norms(into_cache, torch.arange(last - mla.cached_numbers, last), input_layernorm)
        latent_rows, rotary_rows = torch.split(kv_rows, [mla.kv_lora_rank, mla.qk_rope_head_dim])
        k_up, v_up = attention.k_up.float() * weight, attention.v_up.float() * weight
        readers = (k_up.square().sum((0, 1)) + v_up.square().sum((0, 1))).sqrt_()
        scale = balance(latent_rows, readers)
        queries = self._query_norms(attention, input_layernorm)
        return replace(
            attention,
            kv_a_layernorm=scale,
            k_up=self._latent.rotate(k_up / scale).to(attention.k_up.dtype),
            v_up=self._latent.rotate(v_up / scale).to(attention.v_up.dtype),
            rotation=LatentRotation(
                self._latent, self._rotary, balance(_by_pair(rotary_rows), _by_pair(queries))
            ),
        )

    def _query_norms(self, attention: MLAttention, input_layernorm: Tensor) -> Tensor:
        """How large rotary queries are, (some heads, qk_rope_head_dim) float32."""
        size, nope = self._mla.qk_head_dim, self._mla.qk_nope_head_dim
        heads = torch.arange(0, len(attention.k_up), -(-len(attention.k_up) // QUERY_HEADS))
        rows = heads[:, None] * size + torch.arange(nope, size)
        if attention.query_up is None:
            return _row_norms(attention.a_proj.groups[0], rows, input_layernorm)
        return _row_norms(attention.query_up.q_b_proj, rows, attention.query_up.q_a_layernorm)


def _row_norms(linear: Linear, rows: Tensor, input_scale: Tensor) -> Tensor:
    """How large these outputs are for inputs as large as input_scale, float32 of the shape of rows."""
    weights = linear.kernels.embedding(rows.flatten().to(input_scale.device), linear.weight)
    return weights.mul_(input_scale).square_().sum(1).sqrt_().view(rows.shape)


def _by_pair(norms: Tensor) -> Tensor:
    """Norms over both numbers of a pair and over heads: (..., n) -> (n,), each pair's twice."""
    pairs = norms.reshape(-1, norms.shape[-1] // 2, 2).square().sum((0, 2)).sqrt_()
    return pairs.repeat_interleave(2)
