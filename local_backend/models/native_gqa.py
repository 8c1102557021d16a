"""A grouped-query attention layer as one native call over tiles of keys and values (cpu/gqa_layer.h)."""

from __future__ import annotations

import ctypes

from torch import Tensor

from local_backend.cache.tiled_pool import TiledKVPool
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_key_values import NativeKeyValues
from local_backend.kernels.native_structs import GqaLayer, Norm, address
from local_backend.layers.forward_context import ForwardContext
from local_backend.models.gqa import GroupedQueryAttention
from local_backend.models.native_blocks import Block
from local_backend.models.native_projections import NativeProjections

__all__ = ["native_gqa"]


def native_gqa(
    layer: GroupedQueryAttention, norm: Tensor, eps: float, kernels: NativeKernels, pool: TiledKVPool
) -> Block | None:
    """Return the layer with the norm before it as one call; None if there is no call for its form.

    Args:
        layer: The attention behind the norm.
        norm: (hidden_size,) float32.
        eps: Of the norm.
        kernels: Hold the call.
        pool: The cache that the layer will run over.
    """
    qkv, output = NativeProjections.of(layer.qkv_proj.groups), NativeProjections.of((layer.o_proj,))
    if qkv is None or output is None:
        return None
    cache = NativeKeyValues(kernels, pool.tiles[layer.layer], layer.head_dim, pool.block_size)
    struct = GqaLayer(
        norm=Norm(address(norm), eps),
        qkv=qkv.struct,
        output=output.struct,
        cache=cache.struct,
        num_heads=layer.num_heads,
        num_pairs=layer.head_dim // 2,
        scale=layer.head_dim**-0.5,
    )
    call, handle, pointer = kernels.functions.deepseek_gqa_layer, kernels.handle, ctypes.byref(struct)
    keep = (norm, kernels, qkv, output, cache)

    def run(hidden: Tensor, ctx: ForwardContext, alive: object = keep) -> None:  # noqa: ARG001
        assert ctx.batch is not None
        call(handle, pointer, ctx.batch.pointer, hidden.data_ptr())

    return run
