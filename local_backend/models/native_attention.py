"""Attention layers that run in one native call each."""

from __future__ import annotations

from torch import Tensor

from local_backend.cache.latent_pool import LatentPool
from local_backend.cache.pool import KVPool
from local_backend.kernels.native import NativeKernels
from local_backend.models.gqa import GroupedQueryAttention
from local_backend.models.mla import MLAttention
from local_backend.models.native_blocks import Block

__all__ = ["native_attention"]


def native_attention(
    layer: object, norm: Tensor, eps: float, kernels: NativeKernels, pool: KVPool | LatentPool
) -> Block | None:
    """Return the layer with the norm before it as one call; None if there is no call for its form."""
    return None
