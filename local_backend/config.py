"""Frozen settings: the shape of a model and the limits of the engine that runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from local_backend.errors import ConfigError

__all__ = ["EngineConfig", "KernelChoice", "ModelConfig", "Quantization", "RopeScaling"]

_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
KernelChoice = Literal["auto", "reference"]
Quantization = Literal["auto", "none", "int8", "int4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained context.

    Attributes:
        rope_type: "linear", "llama3", or "factors" (one divisor per frequency, as GGUF stores them).
        factor: Stretch factor of linear and llama3.
        low_freq_factor, high_freq_factor, original_max_position_embeddings: llama3's band edges.
        factors: The divisors themselves, length head_dim / 2, for "factors".
    """

    rope_type: Literal["linear", "llama3", "factors"]
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    factors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Shape of a dense decoder; names are Hugging Face config.json keys.

    Raises:
        ConfigError: Sizes contradict each other.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = False
    eos_token_ids: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in _SIZES:
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name}={getattr(self, name)} must be at least 1",
                    help_message="The checkpoint's config is damaged; fetch it again.",
                )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}",
                help_message="Check the checkpoint's config; grouped-query attention needs whole groups.",
            )
        if self.head_dim % 2:
            raise ConfigError(
                f"head_dim={self.head_dim} is odd", help_message="Rotary embedding rotates pairs of numbers."
            )
        factors = self.rope_scaling.factors if self.rope_scaling else ()
        if factors and len(factors) != self.head_dim // 2:
            raise ConfigError(
                f"{len(factors)} rotary factors for head_dim={self.head_dim}",
                help_message="There must be one per rotated pair; the checkpoint is damaged.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Limits and choices of one engine, fixed for its life.

    Attributes:
        max_model_len: Context in tokens; None takes the model's own, at most what max_kv_bytes can hold.
        max_kv_bytes: Memory for keys and values over all requests.
        max_num_seqs: Requests in one batch.
        max_num_batched_tokens: Tokens of one forward pass; longer prompts are prefilled in chunks of it.
        block_size: Positions per KV block.
        kernels: "auto" picks the fastest for this CPU; "reference" is float32 torch throughout.
        quantization: For unquantised sources: "none" keeps them, "int8"/"int4" pack in groups of 32,
            "auto" is int8. Quantised GGUF tensors keep their own precision.
        num_threads: Torch threads; None leaves torch's default.

    Raises:
        ConfigError: A value is out of range.
    """

    max_model_len: int | None = None
    max_kv_bytes: int = 1 << 30
    max_num_seqs: int = 16
    max_num_batched_tokens: int = 512
    block_size: int = 16
    kernels: KernelChoice = "auto"
    quantization: Quantization = "auto"
    num_threads: int | None = None

    def __post_init__(self) -> None:
        positive = ("max_kv_bytes", "max_num_seqs", "max_num_batched_tokens", "block_size")
        for name in (*positive, "max_model_len", "num_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value} must be at least 1", help_message=f"Pass a larger {name}.")
        for name, choices in (("kernels", KernelChoice), ("quantization", Quantization)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} is not known",
                    help_message=f"Pass one of: {', '.join(get_args(choices))}.",
                )
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ConfigError(
                f"max_num_batched_tokens={self.max_num_batched_tokens} is less than "
                f"max_num_seqs={self.max_num_seqs}",
                help_message="Every running request needs one token per step.",
            )
