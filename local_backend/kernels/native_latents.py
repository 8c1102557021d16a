"""One layer's tiled latent cache, as native calls read and write it (cpu/latent_attention.h)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn.functional import pad

from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_batch import NativeBatch
from local_backend.kernels.native_structs import KeyShape, LatentCache, LatentExpansion

__all__ = ["NativeExpansion", "NativeLatents"]

TILE_POSITIONS = 16
ROW_BLOCK = 8  # rows of k_up and v_up that the kernels multiply at once
LEVELS = 127
ZERO = 128  # what cached codes are kept plus
SMALLEST_UNIT = 2.0**-126


class NativeExpansion:
    """k_up and v_up as 8-bit codes, a unit per row, in the order of cpu/latent_cache.h.

    Rotated latents make their numbers alike within a row, so that one unit suits 512 of them.

    Args:
        k_up: (num_heads, qk_nope_head_dim, kv_lora_rank) of any float type; both sizes multiples of 16.
        v_up: (num_heads, v_head_dim, kv_lora_rank).
    """

    def __init__(self, k_up: Tensor, v_up: Tensor) -> None:
        num_heads, nope, rank = k_up.shape
        value = v_up.shape[1]
        rows = torch.cat((k_up.float(), pad(v_up.float(), (0, 0, 0, -value % TILE_POSITIONS))), dim=1)
        unit = rows.abs().amax(dim=2).div_(LEVELS).clamp_min_(SMALLEST_UNIT)
        rounded = rows.div_(unit[..., None]).round_()
        start = rounded.sum(dim=2).mul_(-ZERO).to(torch.int32)  # whole numbers below 2^24, so exact
        fours = rounded.to(torch.int8).view(torch.int32)
        # (num_heads, rows / 8, 8, rank / 4): each four numbers are taken from 8 rows in turn
        blocks = fours.view(num_heads, -1, ROW_BLOCK, rank // 4).transpose(2, 3).contiguous()
        self.num_heads, self.value = num_heads, value
        self._alive = (blocks, unit, start)
        self.struct = LatentExpansion(
            blocks.data_ptr(), unit.data_ptr(), start.data_ptr(), num_heads, nope, value
        )


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

    def attend_expanded(
        self, query: Tensor, batch: NativeBatch, expansion: NativeExpansion, scale: float
    ) -> Tensor:
        """The same over keys and values that are expanded from latents, which is cheaper for many rows.

        Args:
            query: float32 (num_tokens, num_heads, qk_nope_head_dim + qk_rope_head_dim).
            batch: Says which latents each row sees.
            expansion: k_up and v_up.
            scale: Factor on the scores.

        Returns:
            float32 (num_tokens, num_heads, v_head_dim).
        """
        query = query.contiguous()
        out = torch.empty(len(query), expansion.num_heads, expansion.value)
        self._kernels.functions.deepseek_expanded_attention(
            self._kernels.handle,
            self._pointer,
            batch.segments,
            batch.num_segments,
            ctypes.byref(expansion.struct),
            query.data_ptr(),
            query[0].numel(),
            scale,
            out.data_ptr(),
        )
        return out
