"""What one position takes in the cache, per type it can be kept in, and how many positions fit."""

from __future__ import annotations

from typing import Literal

import torch

from local_backend.architecture import ModelConfig
from local_backend.config import CacheDtype, EngineConfig
from local_backend.errors import ConfigError
from local_backend.kernels.latent_codec import LatentCodec

__all__ = ["KeptDtype", "bytes_per_token", "fit_context", "kept_dtype", "latent_codec"]

KeptDtype = torch.dtype | Literal["int8", "int6"]
FLOAT_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def kept_dtype(cache_dtype: CacheDtype, dtype: torch.dtype) -> KeptDtype:
    """Return what the cache keeps.

    Args:
        cache_dtype: EngineConfig.cache_dtype.
        dtype: What "auto" stands for, the kernels' own type.
    """
    if cache_dtype in ("int8", "int6"):
        return cache_dtype
    return FLOAT_DTYPES.get(cache_dtype, dtype)


def latent_codec(config: ModelConfig, kept: KeptDtype) -> LatentCodec | None:
    """Return what rounds the model's latents; None when numbers are kept as floats.

    Raises:
        ConfigError: There are no latents, or they cannot be packed in 6 bits.
    """
    if isinstance(kept, torch.dtype):
        return None
    if config.mla is None:
        raise ConfigError(
            f"cache_dtype={kept!r} rounds latents, and {config.model_type} has no latent attention",
            help_message='Use cache_dtype="auto" or "bfloat16" for this model.',
        )
    if kept == "int6" and config.mla.cached_numbers % 4:
        raise ConfigError(
            f"cache_dtype={kept!r} packs numbers by four, and a position has {config.mla.cached_numbers}"
            f" (kv_lora_rank={config.mla.kv_lora_rank}, qk_rope_head_dim={config.mla.qk_rope_head_dim})",
            help_message='Use cache_dtype="int8" for this model.',
        )
    return LatentCodec(
        latent_size=config.mla.kv_lora_rank,
        rotary_size=config.mla.qk_rope_head_dim,
        bits=8 if kept == "int8" else 6,
    )


def bytes_per_token(config: ModelConfig, dtype: torch.dtype | CacheDtype) -> int:
    """Bytes that one position takes over all layers: keys and values, or the latent and its rotary key.

    Args:
        config: Shape of the model.
        dtype: What is kept. "auto" is bfloat16 here; who knows the kernels passes their type.

    Raises:
        ConfigError: The model cannot be kept so.
    """
    kept = dtype if isinstance(dtype, torch.dtype) else kept_dtype(dtype, torch.bfloat16)
    codec = latent_codec(config, kept)
    if codec is not None:
        return config.num_cached_layers * codec.row_bytes
    assert isinstance(kept, torch.dtype)
    if config.mla is not None:
        return config.num_cached_layers * config.mla.cached_numbers * kept.itemsize
    return 2 * config.num_cached_layers * config.num_key_value_heads * config.head_dim * kept.itemsize


def fit_context(model: ModelConfig, engine: EngineConfig, per_token: int) -> tuple[int, int]:
    """Size a pool by max_kv_bytes and clip the context to what it holds.

    Args:
        model: Limits the context.
        engine: Says how much memory there is, and the context asked for.
        per_token: Bytes of one position over all layers.

    Returns:
        Slots of the pool, a multiple of the block size, and the longest sequence.

    Raises:
        ConfigError: max_kv_bytes is too small for the context asked for, or for any.
    """
    capacity = engine.max_kv_bytes // (per_token * engine.block_size) * engine.block_size
    wanted = engine.max_model_len or min(model.max_position_embeddings, capacity)
    if capacity < wanted or not capacity:
        raise ConfigError(
            f"max_kv_bytes={engine.max_kv_bytes} holds {capacity} positions, {wanted} are needed",
            help_message=f"Set max_kv_bytes to at least {per_token * wanted}.",
        )
    if wanted > model.max_position_embeddings:
        raise ConfigError(
            f"max_model_len={wanted} is beyond the model's {model.max_position_embeddings}",
            help_message="Lower max_model_len.",
        )
    return capacity, wanted
