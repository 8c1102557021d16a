"""A latent attention layer as one native call over a rotated cache (cpu/mla_layer.h)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from torch import Tensor

from local_backend.cache.tiled_latents import TiledLatentPool
from local_backend.kernels.base import GROUP_SIZE, PackedWeight
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_latents import NativeExpansion, NativeLatents
from local_backend.kernels.native_layout import BLOCK_ROWS, pack_native
from local_backend.kernels.native_structs import Matrix, MlaLayer, Norm, address
from local_backend.layers.forward_context import ForwardContext
from local_backend.models.mla import LATENT_NORM_EPS, MLAttention
from local_backend.models.native_blocks import Block
from local_backend.models.native_projections import NativeProjections
from local_backend.store.quantize import quantize_rows

__all__ = ["native_mla"]


def native_mla(
    layer: MLAttention, norm: Tensor, eps: float, kernels: NativeKernels, pool: TiledLatentPool
) -> Block | None:
    """Return the layer with the norm before it as one call; None if there is no call for its form.

    Args:
        layer: The attention behind the norm, over a rotated cache.
        norm: (hidden_size,) float32.
        eps: Of the norm.
        kernels: Hold the call.
        pool: The cache that the layer will run over.
    """
    into, output = NativeProjections.of(layer.a_proj.groups), NativeProjections.of((layer.o_proj,))
    query_up = NativeProjections.of(() if layer.query_up is None else (layer.query_up.q_b_proj,))
    if into is None or query_up is None or output is None or layer.rotation is None or not _fits(layer):
        return None
    parts = _Parts.of(layer)
    latents = NativeLatents(
        kernels, pool.tiles[layer.layer], pool.kv_lora_rank, pool.qk_rope_head_dim, pool.block_size
    )
    query_norm = None if layer.query_up is None else layer.query_up.q_a_layernorm
    struct = MlaLayer(
        norm=Norm(address(norm), eps),
        input=into.struct,
        query_norm=Norm(address(query_norm), LATENT_NORM_EPS),
        query_up=query_up.struct,
        latent_norm=Norm(address(parts.latent_norm), LATENT_NORM_EPS),
        query_scale=address(parts.query_scale),
        key_scale=address(parts.key_scale),
        latent_block=layer.rotation.latent.block,
        rotary_block=layer.rotation.rotary.block,
        key_up=Matrix.of(parts.key_up),
        value_up=Matrix.of(parts.value_up),
        expansion=parts.expansion.struct,
        output=output.struct,
        cache=latents.struct,
        scale=layer.scale,
    )
    call, handle, pointer = kernels.functions.deepseek_mla_layer, kernels.handle, ctypes.byref(struct)
    keep = (norm, query_norm, kernels, into, query_up, output, parts, latents)

    def run(hidden: Tensor, ctx: ForwardContext, alive: object = keep) -> None:  # noqa: ARG001
        assert ctx.batch is not None
        call(handle, pointer, ctx.batch.pointer, hidden.data_ptr())

    return run


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the call reads besides projections; rotations in C++ leave their factor to norm and scales."""

    latent_norm: Tensor
    query_scale: Tensor
    key_scale: Tensor
    key_up: PackedWeight
    value_up: PackedWeight
    expansion: NativeExpansion

    @classmethod
    def of(cls, layer: MLAttention) -> _Parts:
        assert layer.rotation is not None
        latent, rotary = (part.block**-0.5 for part in (layer.rotation.latent, layer.rotation.rotary))
        return cls(
            latent_norm=layer.kv_a_layernorm * latent,
            query_scale=rotary / layer.rotation.rotary_scale,
            key_scale=layer.rotation.rotary_scale * rotary,
            key_up=_by_head(layer.k_up.transpose(1, 2)),
            value_up=_by_head(layer.v_up),
            expansion=NativeExpansion(layer.k_up, layer.v_up),
        )


def _by_head(up: Tensor) -> PackedWeight:
    """Heads' matrices (num_heads, rows, columns) one below the other, in 8 bits: 1 % of all weights."""
    return pack_native(quantize_rows(up.reshape(-1, up.shape[-1]), "int8"))


def _fits(layer: MLAttention) -> bool:
    """Whether the heads' matrices are made of whole blocks and groups."""
    mla = layer.mla
    groups = (mla.qk_nope_head_dim, mla.kv_lora_rank)
    return all(size % GROUP_SIZE == 0 for size in groups) and mla.v_head_dim % BLOCK_ROWS == 0
