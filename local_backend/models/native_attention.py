"""Attention layers that run in one native call each."""

from __future__ import annotations

from torch import Tensor

from local_backend.cache.pool import Pool
from local_backend.cache.tiled_latents import TiledLatentPool
from local_backend.cache.tiled_pool import TiledKVPool
from local_backend.kernels.native import NativeKernels
from local_backend.models.gqa import GroupedQueryAttention
from local_backend.models.mla import MLAttention
from local_backend.models.native_blocks import Block
from local_backend.models.native_gqa import native_gqa
from local_backend.models.native_mla import native_mla

__all__ = ["native_attention"]


def native_attention(
    layer: object, norm: Tensor, eps: float, kernels: NativeKernels, pool: Pool
) -> Block | None:
    """Return the layer with the norm before it as one call; None if there is no call for its form.

    Args:
        layer: The attention behind the norm.
        norm: (hidden_size,) float32.
        eps: Of the norm.
        kernels: Hold the call.
        pool: The cache that the layer will run over.
    """
    if isinstance(layer, GroupedQueryAttention) and isinstance(pool, TiledKVPool):
        return native_gqa(layer, norm, eps, kernels, pool)
    if isinstance(layer, MLAttention) and isinstance(pool, TiledLatentPool):
        return native_mla(layer, norm, eps, kernels, pool)
    return None
