"""One layer's tiled keys and values, as native calls read and write them (cpu/gqa_attention.h)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_batch import NativeBatch
from local_backend.kernels.native_structs import KeyValueCache

__all__ = ["NativeKeyValues"]


class NativeKeyValues:
    """Calls over the tiles of one layer.

    Args:
        kernels: Hold the calls and their threads.
        tiles: bfloat16 (num_tiles, num_kv_heads, 2, 16 * head_dim), as TiledKVPool keeps them.
        head_dim: A multiple of 32.
        block_size: Positions of a block, a multiple of 16.
    """

    def __init__(self, kernels: NativeKernels, tiles: Tensor, head_dim: int, block_size: int) -> None:
        self._kernels, self._tiles = kernels, tiles
        self._row_shape = (tiles.shape[1], head_dim)
        self.struct = KeyValueCache(tiles.data_ptr(), tiles.shape[1], head_dim, block_size)
        self._pointer = ctypes.byref(self.struct)

    def write(self, slots: Tensor, key: Tensor, value: Tensor) -> None:
        """Round float32 keys and values (n, num_kv_heads, head_dim) into slots (n,) int64."""
        key, value = key.contiguous(), value.contiguous()
        self._kernels.functions.deepseek_gqa_write(
            self._kernels.handle,
            self._pointer,
            slots.data_ptr(),
            len(slots),
            key.data_ptr(),
            key[0].numel(),
            value.data_ptr(),
            value[0].numel(),
        )

    def read(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Return float32 keys and values (n, num_kv_heads, head_dim) of slots (n,) int64."""
        key, value = (torch.empty(len(slots), *self._row_shape) for _ in range(2))
        self._kernels.functions.deepseek_gqa_read(
            self._kernels.handle,
            self._pointer,
            slots.data_ptr(),
            len(slots),
            key.data_ptr(),
            value.data_ptr(),
        )
        return key, value

    def attend(self, query: Tensor, batch: NativeBatch, scale: float) -> Tensor:
        """Attention of a batch's new rows to the keys and values of their sequences, causal.

        Args:
            query: float32 (num_tokens, num_heads, head_dim).
            batch: Says which positions each row sees.
            scale: Factor on the scores.

        Returns:
            float32 of the same shape.
        """
        query = query.contiguous()
        out = torch.empty_like(query)
        self._kernels.functions.deepseek_gqa_attention(
            self._kernels.handle,
            self._pointer,
            batch.segments,
            batch.num_segments,
            query.data_ptr(),
            query[0].numel(),
            query.shape[1],
            scale,
            out.data_ptr(),
        )
        return out
