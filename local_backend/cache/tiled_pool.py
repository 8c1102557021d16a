"""Keys and values in tiles of 16 positions, as the native kernels read them (kernels/cpu/gqa_cache.h)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.cache.block_bytes import BlockBytes
from local_backend.cache.sizing import bytes_per_token, fit_context
from local_backend.config import EngineConfig

__all__ = ["TILE_POSITIONS", "TiledKVPool"]

TILE_POSITIONS = 16
VECTOR_DIMS = 32  # values of as many dimensions lie together
MAX_HEAD_DIM = 256


@dataclass(frozen=True, slots=True)
class TiledKVPool:
    """Bfloat16 keys and values by slot; slot = block_id * block_size + offset.

    Attributes:
        tiles: Per layer bfloat16 (num_tiles, num_key_value_heads, 2, 16 * head_dim): keys as (head_dim / 2,
            position, 2), values as (position, head_dim / 32, 16, 2) with dimension 32 v + 16 j + i at
            [v, i, j]. Memory is touched, and so counted, only where a block has been written.
        block_size: Positions per block, a multiple of 16.
        max_model_len: Longest sequence the pool is sized for.
    """

    tiles: list[Tensor]
    block_size: int
    max_model_len: int
    dtype: torch.dtype = torch.bfloat16

    @classmethod
    def fits(cls, model: ModelConfig, engine: EngineConfig) -> bool:
        """Whether a model's keys and values can be kept so, as the engine is to keep them."""
        return (
            model.mla is None
            and model.head_dim % VECTOR_DIMS == 0
            and model.head_dim <= MAX_HEAD_DIM
            and engine.block_size % TILE_POSITIONS == 0
            and engine.cache_dtype in ("auto", "bfloat16")
        )

    @classmethod
    def allocate(cls, model: ModelConfig, engine: EngineConfig) -> TiledKVPool:
        """Size the pool by max_kv_bytes and clip the context to what it holds.

        Raises:
            ConfigError: max_kv_bytes is too small for the context asked for, or for any.
        """
        capacity, max_model_len = fit_context(model, engine, bytes_per_token(model, torch.bfloat16))
        shape = (
            capacity // TILE_POSITIONS,
            model.num_key_value_heads,
            2,
            TILE_POSITIONS * model.head_dim,
        )
        tiles = [torch.empty(shape, dtype=torch.bfloat16) for _ in range(model.num_cached_layers)]
        return cls(tiles, engine.block_size, max_model_len)

    @property
    def num_blocks(self) -> int:
        """Blocks in the pool."""
        return self.tiles[0].shape[0] * TILE_POSITIONS // self.block_size

    @property
    def layout(self) -> str:
        """Names what a block's bytes mean; whoever changes that changes the name."""
        return "key-value-tiles-bfloat16"

    def block_bytes(self) -> BlockBytes:
        """View the blocks as bytes, to keep them elsewhere."""
        return BlockBytes.of(self.tiles, self.num_blocks)

    def write(self, layer: int, slots: tuple[int, int] | Tensor, key: Tensor, value: Tensor) -> None:
        """Keep keys and values, each (n, num_key_value_heads, head_dim) of any float type.

        Args:
            layer: Index of the layer.
            slots: (first, past the last), or an index tensor (n,).
            key, value: Rows in the order of the slots.
        """
        tile, position = _places(slots)
        keys, values = self._parts(layer)
        keys[tile, :, :, position] = key.reshape(*key.shape[:2], -1, 2).to(self.dtype)
        halves = value.reshape(*value.shape[:2], -1, 2, VECTOR_DIMS // 2).transpose(-1, -2)
        values[tile, :, position] = halves.to(self.dtype)

    def read(self, layer: int, slots: tuple[int, int] | Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (n, num_key_value_heads, head_dim) in bfloat16, copied."""
        tile, position = _places(slots)
        keys, values = self._parts(layer)
        return keys[tile, :, :, position].flatten(-2), values[tile, :, position].transpose(-1, -2).flatten(-3)

    def _parts(self, layer: int) -> tuple[Tensor, Tensor]:
        """Views: keys (tile, head, pair, position, 2), values (tile, head, position, vector, 16, 2)."""
        keys, values = self.tiles[layer].unbind(2)
        return (
            keys.view(*keys.shape[:2], -1, TILE_POSITIONS, 2),
            values.view(*values.shape[:2], TILE_POSITIONS, -1, VECTOR_DIMS // 2, 2),
        )


def _places(slots: tuple[int, int] | Tensor) -> tuple[Tensor, Tensor]:
    index = torch.arange(*slots) if isinstance(slots, tuple) else slots
    return index // TILE_POSITIONS, index % TILE_POSITIONS
