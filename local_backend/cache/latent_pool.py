"""The latent cache of multi-head latent attention: one latent and one rotary key per position and layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.cache.block_bytes import BlockBytes
from local_backend.cache.sizing import bytes_per_token, fit_context, kept_dtype, latent_codec
from local_backend.config import EngineConfig
from local_backend.kernels.latent_codec import LatentCodec

__all__ = ["LatentPool"]


@dataclass(frozen=True, slots=True)
class LatentPool:
    """Latents and rotary keys by slot; slot = block_id * block_size + offset.

    Attributes:
        rows: Per layer (num_slots, kv_lora_rank + qk_rope_head_dim) floats, latent first, or (num_slots,
            codec.row_bytes) bytes. Memory is touched, and so counted, only where a block has been written.
        codec: Rounds latents; None when they are kept as floats.
        kv_lora_rank: Numbers of the latent.
        dtype: Type that is read; the rows may be kept in another.
        block_size: Positions per block.
        max_model_len: Longest sequence the pool is sized for.
    """

    rows: list[Tensor]
    codec: LatentCodec | None
    kv_lora_rank: int
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
    ) -> LatentPool:
        """Size the pool by max_kv_bytes and clip the context to what it holds.

        Args:
            model: Shape of the model, with latent attention.
            engine: Memory, context and block size; its cache_dtype is what is kept.
            dtype: Type that is read, the kernels' own.
            device: Where the pool lies; None is the CPU.

        Raises:
            ConfigError: max_kv_bytes is too small for the context asked for, or for any; cache_dtype does
                not fit the latent.
        """
        assert model.mla is not None
        kept = kept_dtype(engine.cache_dtype, dtype)
        codec = latent_codec(model, kept)
        capacity, max_model_len = fit_context(model, engine, bytes_per_token(model, kept))
        if isinstance(kept, torch.dtype):
            shape, stored = (capacity, model.mla.cached_numbers), kept
        else:
            assert codec is not None
            shape, stored = (capacity, codec.row_bytes), torch.uint8
        rows = [torch.empty(shape, dtype=stored, device=device) for _ in range(model.num_cached_layers)]
        for module in rows[model.num_hidden_layers :]:
            module.zero_()  # a prefix's last position may be unwritten there (engine/mtp_drafter.py)
        return cls(
            rows=rows,
            codec=codec,
            kv_lora_rank=model.mla.kv_lora_rank,
            dtype=dtype,
            block_size=engine.block_size,
            max_model_len=max_model_len,
        )

    @property
    def num_blocks(self) -> int:
        """Blocks in the pool."""
        return self.rows[0].shape[0] // self.block_size

    @property
    def layout(self) -> str:
        """Names what a block's bytes mean; whoever changes that changes the name."""
        kept = f"{self.rows[0].dtype}".replace("torch.", "")
        return f"latents-{kept}" if self.codec is None else f"rotated-latents-int{self.codec.bits}"

    def block_bytes(self) -> BlockBytes:
        """View the blocks as bytes, to keep them elsewhere."""
        return BlockBytes.of(self.rows, self.num_blocks)

    def write(self, layer: int, slots: tuple[int, int] | Tensor, kv_latent: Tensor, k_pe: Tensor) -> None:
        """Keep n positions.

        Args:
            layer: Index of the layer.
            slots: (first, past the last), or an index tensor (n,).
            kv_latent: (n, kv_lora_rank) float32, in the order of the slots.
            k_pe: (n, qk_rope_head_dim) float32, already turned.
        """
        rows = self.rows[layer]
        new = (
            torch.cat((kv_latent, k_pe), dim=1) if self.codec is None else self.codec.encode(kv_latent, k_pe)
        )
        if isinstance(slots, tuple):
            rows[slots[0] : slots[1]].copy_(new)
        else:
            rows.index_copy_(0, slots, new.to(rows.dtype))

    def read(self, layer: int, slots: tuple[int, int] | Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return (n, kv_lora_rank + qk_rope_head_dim), latent first.

        A view without a copy when it is kept in the wanted type and slots is a range.

        Args:
            layer: Index of the layer.
            slots: (first, past the last), or an index tensor (n,).
            dtype: Wanted type; None is the pool's. Codes are read fastest as float32.
        """
        rows = self.rows[layer]
        rows = rows[slots[0] : slots[1]] if isinstance(slots, tuple) else rows.index_select(0, slots)
        wanted = self.dtype if dtype is None else dtype
        return rows.to(wanted) if self.codec is None else self.codec.decode(rows, wanted)
