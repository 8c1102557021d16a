"""The tensors behind the KV blocks: keys and values per layer here, latents in latent_pool.py."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.cache.block_bytes import BlockBytes
from local_backend.cache.latent_pool import LatentPool
from local_backend.cache.sizing import bytes_per_token, fit_context, kept_dtype
from local_backend.cache.tiled_latents import TiledLatentPool
from local_backend.cache.tiled_pool import TiledKVPool
from local_backend.config import EngineConfig

__all__ = ["KVPool", "Pool", "allocate_pool", "bytes_per_token"]


@dataclass(frozen=True, slots=True)
class KVPool:
    """Keys and values by slot; slot = block_id * block_size + offset.

    Attributes:
        keys, values: Per layer (num_slots, num_key_value_heads, head_dim). Memory is touched, and so
            counted, only where a block has been written.
        dtype: Type that is read; the tensors may be kept in another.
        block_size: Positions per block.
        max_model_len: Longest sequence the pool is sized for.
    """

    keys: list[Tensor]
    values: list[Tensor]
    dtype: torch.dtype
    block_size: int
    max_model_len: int

    @classmethod
    def allocate(
        cls,
        model: ModelConfig,
        engine: EngineConfig,
        dtype: torch.dtype,
        device: torch.device | None = None,
    ) -> KVPool:
        """Size the pool by max_kv_bytes and clip the context to what it holds.

        Args:
            model: Shape of the model.
            engine: Memory, context and block size; its cache_dtype is what is kept.
            dtype: Type that is read, the kernels' own.
            device: Where the pool lies; None is the CPU.

        Raises:
            ConfigError: max_kv_bytes is too small for the context asked for, or for any; cache_dtype is
                for latents.
        """
        kept = kept_dtype(engine.cache_dtype, dtype)
        capacity, max_model_len = fit_context(model, engine, bytes_per_token(model, kept))
        assert isinstance(kept, torch.dtype)
        shape = (capacity, model.num_key_value_heads, model.head_dim)
        layers = range(model.num_cached_layers)
        return cls(
            keys=[torch.empty(shape, dtype=kept, device=device) for _ in layers],
            values=[torch.empty(shape, dtype=kept, device=device) for _ in layers],
            dtype=dtype,
            block_size=engine.block_size,
            max_model_len=max_model_len,
        )

    @property
    def num_blocks(self) -> int:
        """Blocks in the pool."""
        return self.keys[0].shape[0] // self.block_size

    @property
    def layout(self) -> str:
        """Names what a block's bytes mean; whoever changes that changes the name."""
        return f"keys-values-{self.keys[0].dtype}".replace("torch.", "")

    def block_bytes(self) -> BlockBytes:
        """View the blocks as bytes, to keep them elsewhere."""
        return BlockBytes.of([*self.keys, *self.values], self.num_blocks)

    def write(self, layer: int, slots: tuple[int, int] | Tensor, key: Tensor, value: Tensor) -> None:
        """Keep keys and values, each (n, num_key_value_heads, head_dim) of any float type.

        Args:
            layer: Index of the layer.
            slots: (first, past the last), or an index tensor (n,).
            key, value: Rows in the order of the slots.
        """
        for pool, rows in ((self.keys[layer], key), (self.values[layer], value)):
            if isinstance(slots, tuple):
                pool[slots[0] : slots[1]].copy_(rows)
            else:
                pool.index_copy_(0, slots, rows.to(pool.dtype))

    def read(self, layer: int, slots: tuple[int, int] | Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (n, num_key_value_heads, head_dim) in dtype.

        Views without a copy when they are kept in that type and slots is a range.
        """
        key, value = (
            pool[slots[0] : slots[1]] if isinstance(slots, tuple) else pool.index_select(0, slots)
            for pool in (self.keys[layer], self.values[layer])
        )
        return key.to(self.dtype), value.to(self.dtype)


Pool = KVPool | LatentPool | TiledKVPool | TiledLatentPool
"""Any of them: rows or tiles, of keys and values or of latents."""


def allocate_pool(
    model: ModelConfig,
    engine: EngineConfig,
    dtype: torch.dtype,
    device: torch.device | None = None,
    *,
    tiled: bool = False,
) -> Pool:
    """Allocate the pool that the model's attention needs; arguments and errors as in KVPool.allocate.

    Args:
        model, engine, dtype, device: As there.
        tiled: Whether the kernels read tiles.
    """
    if tiled and TiledKVPool.fits(model, engine):
        return TiledKVPool.allocate(model, engine)
    if tiled and TiledLatentPool.fits(model, engine):
        return TiledLatentPool.allocate(model, engine)
    kind = KVPool if model.mla is None else LatentPool
    return kind.allocate(model, engine, dtype, device)
