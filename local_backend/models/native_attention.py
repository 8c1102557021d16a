"""Attention layers that run in one native call each."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from local_backend.cache.latent_pool import LatentPool
from local_backend.cache.pool import KVPool
from local_backend.cache.tiled_pool import TiledKVPool
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_structs import GqaLayer, KeyValueCache, Matrix, Norm, Projections, address
from local_backend.layers.forward_context import ForwardContext
from local_backend.layers.linear import Linear
from local_backend.models.gqa import GroupedQueryAttention
from local_backend.models.native_blocks import Block, is_native

__all__ = ["native_attention"]

MAX_GROUPS = 3  # matrices that projections of one input are stored as


def native_attention(
    layer: object,
    norm: Tensor,
    eps: float,
    kernels: NativeKernels,
    pool: KVPool | LatentPool | TiledKVPool,
) -> Block | None:
    """Return the layer with the norm before it as one call; None if there is no call for its form.

    Args:
        layer: The attention behind the norm.
        norm: (hidden_size,) float32.
        eps: Of the norm.
        kernels: Hold the call.
        pool: The cache that the layer will run over.
    """
    if not isinstance(layer, GroupedQueryAttention) or not isinstance(pool, TiledKVPool):
        return None
    linears = [*layer.qkv_proj.groups, layer.o_proj]
    if len(linears) > MAX_GROUPS + 1 or not all(is_native(linear.weight) for linear in linears):
        return None
    return _gqa_block(layer, norm, eps, kernels, pool)


def _gqa_block(
    layer: GroupedQueryAttention, norm: Tensor, eps: float, kernels: NativeKernels, pool: TiledKVPool
) -> Block:
    biases = _bias(layer.qkv_proj.groups), _bias((layer.o_proj,))
    tiles = pool.tiles[layer.layer]
    struct = GqaLayer(
        norm=Norm(address(norm), eps),
        qkv=_projections(layer.qkv_proj.groups, biases[0]),
        output=_projections((layer.o_proj,), biases[1]),
        cache=KeyValueCache(tiles.data_ptr(), layer.num_kv_heads, layer.head_dim, pool.block_size),
        num_heads=layer.num_heads,
        num_pairs=layer.head_dim // 2,
        scale=layer.head_dim**-0.5,
    )
    call, handle, pointer = kernels.functions.deepseek_gqa_layer, kernels.handle, ctypes.byref(struct)
    keep = (layer, norm, kernels, biases, tiles)

    def run(hidden: Tensor, ctx: ForwardContext, alive: object = keep) -> None:  # noqa: ARG001
        assert ctx.batch is not None
        call(handle, pointer, ctx.batch.pointer, hidden.data_ptr())

    return run


def _projections(linears: tuple[Linear, ...], bias: Tensor | None) -> Projections:
    matrices = (Matrix * MAX_GROUPS)(*(Matrix.of(linear.weight) for linear in linears))
    return Projections(len(linears), matrices, address(bias))


def _bias(linears: tuple[Linear, ...]) -> Tensor | None:
    """The biases of matrices one below the other; None when there are none."""
    if all(linear.bias is None for linear in linears):
        return None
    return torch.cat(
        [torch.zeros(linear.weight.rows) if linear.bias is None else linear.bias for linear in linears]
    )
