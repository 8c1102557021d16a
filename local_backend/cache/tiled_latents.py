"""Latents as 8-bit codes in tiles of 16 positions, as native kernels want them (cpu/latent_cache.h)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.cache.block_bytes import BlockBytes
from local_backend.cache.sizing import fit_context
from local_backend.config import EngineConfig

__all__ = ["TiledLatentPool"]

TILE_POSITIONS = 16
PART_NUMBERS = 16  # a latent and a rotary key each have a multiple of as many
UNIT_BYTES = 8  # of a position: two float32
LEVELS = 127
ZERO = 128  # what a code of zero is kept as
SMALLEST_UNIT = 2.0**-126


@dataclass(frozen=True, slots=True)
class TiledLatentPool:
    """Latents and rotary keys by slot; slot = block_id * block_size + offset.

    A code is the number divided by its unit, rounded, plus 128; the unit is a 127th of the largest magnitude
    in the position's latent, or in its rotary key. That suits numbers that are alike, which latents are once
    they are rotated (layers/latent_rotation.py). A NaN or an infinity makes the whole latent, or the whole
    rotary key, NaN.

    Attributes:
        tiles: Per layer uint8 (num_tiles, tile bytes): codes (numbers / 4, position, 4), latent first, then
            float32 units (2, position), the latent's and the rotary key's. Memory is touched, and so
            counted, only where a block has been written.
        kv_lora_rank: Numbers of the latent.
        qk_rope_head_dim: Numbers of the rotary key.
        block_size: Positions per block, a multiple of 16.
        max_model_len: Longest sequence the pool is sized for.
        dtype: Type that is read.
    """

    tiles: list[Tensor]
    kv_lora_rank: int
    qk_rope_head_dim: int
    block_size: int
    max_model_len: int
    dtype: torch.dtype = torch.float32

    @classmethod
    def fits(cls, model: ModelConfig, engine: EngineConfig) -> bool:
        """Whether a model's latents can be kept so, as the engine is to keep them."""
        return (
            model.mla is not None
            and model.mla.kv_lora_rank % PART_NUMBERS == 0
            and model.mla.qk_rope_head_dim % PART_NUMBERS == 0
            and engine.block_size % TILE_POSITIONS == 0
            and engine.cache_dtype in ("auto", "int8")
        )

    @classmethod
    def allocate(cls, model: ModelConfig, engine: EngineConfig) -> TiledLatentPool:
        """Size the pool by max_kv_bytes and clip the context to what it holds.

        Args:
            model: Shape of the model, with latent attention.
            engine: Memory, context and block size.

        Raises:
            ConfigError: max_kv_bytes is too small for the context asked for, or for any.
        """
        assert model.mla is not None
        position_bytes = model.mla.cached_numbers + UNIT_BYTES
        capacity, max_model_len = fit_context(model, engine, model.num_cached_layers * position_bytes)
        shape = (capacity // TILE_POSITIONS, TILE_POSITIONS * position_bytes)
        tiles = [torch.empty(shape, dtype=torch.uint8) for _ in range(model.num_cached_layers)]
        for module in tiles[model.num_hidden_layers :]:
            module.zero_()  # a prefix's last position may be unwritten there (engine/mtp_drafter.py)
        return cls(
            tiles=tiles,
            kv_lora_rank=model.mla.kv_lora_rank,
            qk_rope_head_dim=model.mla.qk_rope_head_dim,
            block_size=engine.block_size,
            max_model_len=max_model_len,
        )

    @property
    def num_blocks(self) -> int:
        """Blocks in the pool."""
        return self.tiles[0].shape[0] * TILE_POSITIONS // self.block_size

    @property
    def layout(self) -> str:
        """Names what a block's bytes mean; whoever changes that changes the name."""
        return "rotated-latent-tiles-int8"

    def block_bytes(self) -> BlockBytes:
        """View the blocks as bytes, to keep them elsewhere."""
        return BlockBytes.of(self.tiles, self.num_blocks)

    def write(self, layer: int, slots: tuple[int, int] | Tensor, kv_latent: Tensor, k_pe: Tensor) -> None:
        """Keep n positions.

        Args:
            layer: Index of the layer.
            slots: (first, past the last), or an index tensor (n,).
            kv_latent: (n, kv_lora_rank) float32, in the order of the slots.
            k_pe: (n, qk_rope_head_dim) float32, already turned.
        """
        tile, position = _places(slots)
        codes, units = self._parts(layer)
        unit = torch.stack([_unit(part) for part in (kv_latent, k_pe)], dim=1)  # (n, 2)
        scaled = torch.cat((kv_latent / unit[:, :1], k_pe / unit[:, 1:]), dim=1).round_().nan_to_num_(0, 0, 0)
        codes[tile, :, position] = scaled.add_(ZERO).to(torch.uint8).view(len(k_pe), -1, 4)
        units[tile, :, position] = unit

    def read(self, layer: int, slots: tuple[int, int] | Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return (n, kv_lora_rank + qk_rope_head_dim), latent first, copied.

        Args:
            layer: Index of the layer.
            slots: (first, past the last), or an index tensor (n,).
            dtype: Wanted type; None is the pool's.
        """
        tile, position = _places(slots)
        codes, units = self._parts(layer)
        numbers = codes[tile, :, position].flatten(1).float().sub_(ZERO)
        sizes = torch.tensor([self.kv_lora_rank, self.qk_rope_head_dim])
        numbers *= units[tile, :, position].repeat_interleave(sizes, dim=1)
        return numbers.to(self.dtype if dtype is None else dtype)

    def _parts(self, layer: int) -> tuple[Tensor, Tensor]:
        """Views: codes (tile, numbers / 4, position, 4) and units, float32 (tile, 2, position)."""
        tiles = self.tiles[layer]
        code_bytes = tiles.shape[1] - TILE_POSITIONS * UNIT_BYTES
        units = tiles[:, code_bytes:].view(torch.float32)
        # Both are views of columns: (tile, numbers / 4, position, 4) and (tile, 2, position)
        stride = tiles.stride(0)
        return (
            tiles.as_strided((len(tiles), code_bytes // 64, TILE_POSITIONS, 4), (stride, 64, 4, 1)),
            units.as_strided((len(tiles), 2, TILE_POSITIONS), (stride // 4, TILE_POSITIONS, 1)),
        )


def _unit(part: Tensor) -> Tensor:
    """What a code of each row counts, (n,); NaN for a row with a number that is not finite."""
    unit = part.abs().amax(dim=1).div_(LEVELS).clamp_min_(SMALLEST_UNIT)
    return unit.masked_fill_(~unit.isfinite(), torch.nan)


def _places(slots: tuple[int, int] | Tensor) -> tuple[Tensor, Tensor]:
    index = torch.arange(*slots) if isinstance(slots, tuple) else slots
    return index // TILE_POSITIONS, index % TILE_POSITIONS
