"""One layer's tiled latent cache, as native calls read and write it (cpu/latent_attention.h)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_batch import NativeBatch
from local_backend.kernels.native_structs import KeyShape, LatentCache

__all__ = ["NativeLatents"]

TILE_POSITIONS = 16


class NativeLatents:
    """Calls over the tiles of one layer.

    Args:
        kernels: Hold the calls and their threads.
        tiles: uint8 (num_tiles, tile bytes), as TiledLatentPool keeps them.
        kv_lora_rank: Numbers of the latent, a multiple of 16.
        qk_rope_head_dim: Numbers of the rotary key, a multiple of 16.
        block_size: Positions of a block, a multiple of 16.
    """

    def __init__(
        self, kernels: NativeKernels, tiles: Tensor, kv_lora_rank: int, qk_rope_head_dim: int, block_size: int
    ) -> None:
        self._kernels, self._tiles = kernels, tiles
        self._shape = KeyShape(kv_lora_rank, qk_rope_head_dim)
        self.struct = LatentCache(tiles.data_ptr(), self._shape, block_size // TILE_POSITIONS)
        self._pointer = ctypes.byref(self.struct)

    def write(self, slots: Tensor, kv_latent: Tensor, k_pe: Tensor) -> None:
        """Round float32 kv_latent (n, kv_lora_rank), k_pe (n, qk_rope_head_dim) into slots (n,) int64."""
        kv_latent, k_pe = kv_latent.contiguous(), k_pe.contiguous()
        self._kernels.functions.deepseek_latent_write(
            self._kernels.handle,
            self._pointer,
            slots.data_ptr(),
            len(slots),
            kv_latent.data_ptr(),
            k_pe.data_ptr(),
        )

    def read(self, slots: Tensor) -> Tensor:
        """Return float32 (n, kv_lora_rank + qk_rope_head_dim) of slots (n,) int64."""
        out = torch.empty(len(slots), self._shape.rank + self._shape.rope)
        self._kernels.functions.deepseek_latent_read(
            self._kernels.handle, self._pointer, slots.data_ptr(), len(slots), out.data_ptr()
        )
        return out

    def attend(self, query: Tensor, batch: NativeBatch, scale: float) -> Tensor:
        """Attention of a batch's new rows to the latents of their sequences, causal.

        Args:
            query: float32 (num_tokens, num_heads, kv_lora_rank + qk_rope_head_dim), already mapped by k_up.
            batch: Says which latents each row sees.
            scale: Factor on the scores.

        Returns:
            float32 (num_tokens, num_heads, kv_lora_rank), to be mapped by v_up.
        """
        query = query.contiguous()
        num_tokens, num_heads, _ = query.shape
        out = torch.empty(num_tokens, num_heads, self._shape.rank)
        self._kernels.functions.deepseek_latent_attention(
            self._kernels.handle,
            self._pointer,
            batch.segments,
            batch.num_segments,
            query.data_ptr(),
            num_heads,
            scale,
            out.data_ptr(),
        )
        return out
