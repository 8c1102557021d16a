"""Frozen settings: the shape of a model and the limits of the engine that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from local_backend.errors import ConfigError, UnsupportedModelError

__all__ = ["DENSE_MODEL_TYPES", "EngineConfig", "KernelChoice", "ModelConfig", "Quantization", "RopeScaling"]

DENSE_MODEL_TYPES = ("llama", "qwen2")
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

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Read a config.json.

        Raises:
            UnsupportedModelError: The architecture or one of its options is not implemented.
            ConfigError: A required key is missing.
        """
        model_type = str(config.get("model_type", "missing"))
        _reject_unsupported(model_type, config)
        try:
            heads = int(config["num_attention_heads"])
            hidden_size = int(config["hidden_size"])
            rope = config.get("rope_parameters") or config.get("rope_scaling")
            theta = config.get("rope_theta", (rope or {}).get("rope_theta", 10000.0))
            return cls(
                model_type=model_type,
                vocab_size=int(config["vocab_size"]),
                hidden_size=hidden_size,
                intermediate_size=int(config["intermediate_size"]),
                num_hidden_layers=int(config["num_hidden_layers"]),
                num_attention_heads=heads,
                num_key_value_heads=int(config.get("num_key_value_heads") or heads),
                head_dim=int(config.get("head_dim") or hidden_size // heads),
                max_position_embeddings=int(config.get("max_position_embeddings", 2048)),
                rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
                rope_theta=float(theta),
                rope_scaling=_hf_rope_scaling(rope),
                tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
                eos_token_ids=_as_ids(config.get("eos_token_id")),
            )
        except KeyError as error:
            raise ConfigError(
                f"config.json has no {error.args[0]!r}",
                help_message="The folder is not a complete checkpoint.",
            ) from error

    @classmethod
    def from_gguf(
        cls, metadata: Mapping[str, Any], *, vocab_size: int, tied: bool, rope_factors: tuple[float, ...] = ()
    ) -> ModelConfig:
        """Read GGUF key-value metadata.

        Args:
            metadata: All key-value pairs of the file.
            vocab_size: Rows of the embedding matrix (metadata may leave it out).
            tied: True when the file has no output matrix of its own.
            rope_factors: The rope_freqs tensor, when there is one.

        Raises:
            UnsupportedModelError: The architecture is not implemented.
            ConfigError: A required key is missing.
        """
        arch = str(metadata.get("general.architecture", "missing"))
        _reject_unsupported(arch, {})
        try:
            heads = int(metadata[f"{arch}.attention.head_count"])
            hidden_size = int(metadata[f"{arch}.embedding_length"])
            return cls(
                model_type=arch,
                vocab_size=vocab_size,
                hidden_size=hidden_size,
                intermediate_size=int(metadata[f"{arch}.feed_forward_length"]),
                num_hidden_layers=int(metadata[f"{arch}.block_count"]),
                num_attention_heads=heads,
                num_key_value_heads=int(metadata.get(f"{arch}.attention.head_count_kv", heads)),
                head_dim=int(metadata.get(f"{arch}.attention.key_length", hidden_size // heads)),
                max_position_embeddings=int(metadata[f"{arch}.context_length"]),
                rms_norm_eps=float(metadata[f"{arch}.attention.layer_norm_rms_epsilon"]),
                rope_theta=float(metadata.get(f"{arch}.rope.freq_base", 10000.0)),
                rope_scaling=_gguf_rope_scaling(arch, metadata, rope_factors),
                tie_word_embeddings=tied,
                eos_token_ids=_as_ids(metadata.get("tokenizer.ggml.eos_token_id")),
            )
        except KeyError as error:
            raise ConfigError(
                f"the GGUF file has no {error.args[0]!r}",
                help_message="The file is not a complete checkpoint.",
            ) from error


def _reject_unsupported(model_type: str, config: Mapping[str, Any]) -> None:
    if model_type not in DENSE_MODEL_TYPES:
        raise UnsupportedModelError(
            f"model type {model_type!r} is not supported by the embedded engine",
            help_message=f"Supported: {', '.join(DENSE_MODEL_TYPES)}. Serve others with vLLM or SGLang "
            "and use --backend server.",
        )
    for key, wanted in (("use_sliding_window", False), ("hidden_act", "silu"), ("mlp_bias", False)):
        if config.get(key, wanted) != wanted:
            raise UnsupportedModelError(
                f"{key}={config[key]!r} is not supported",
                help_message=f"Only {key}={wanted!r} is implemented.",
            )


def _as_ids(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(int(v) for v in value) if isinstance(value, (list, tuple)) else (int(str(value)),)


def _hf_rope_scaling(rope: Mapping[str, Any] | None) -> RopeScaling | None:
    kind = (rope or {}).get("rope_type", (rope or {}).get("type", "default"))
    if rope is None or kind == "default":
        return None
    if kind == "linear":
        return RopeScaling(rope_type="linear", factor=float(rope["factor"]))
    if kind == "llama3":
        return RopeScaling(
            rope_type="llama3",
            factor=float(rope["factor"]),
            low_freq_factor=float(rope["low_freq_factor"]),
            high_freq_factor=float(rope["high_freq_factor"]),
            original_max_position_embeddings=int(rope["original_max_position_embeddings"]),
        )
    raise UnsupportedModelError(
        f"rope scaling {kind!r} is not supported", help_message="Supported: default, linear, llama3."
    )


def _gguf_rope_scaling(
    arch: str, metadata: Mapping[str, Any], factors: tuple[float, ...]
) -> RopeScaling | None:
    if factors:
        return RopeScaling(rope_type="factors", factors=factors)
    kind = metadata.get(f"{arch}.rope.scaling.type", "none")
    factor = metadata.get(f"{arch}.rope.scaling.factor", metadata.get(f"{arch}.rope.scale_linear"))
    if kind == "linear" or (kind == "none" and factor not in (None, 1.0)):
        return RopeScaling(rope_type="linear", factor=float(factor or 1.0))
    if kind != "none":
        raise UnsupportedModelError(
            f"rope scaling {kind!r} is not supported", help_message="Supported: none, linear, llama3 factors."
        )
    return None


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
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ConfigError(
                f"max_num_batched_tokens={self.max_num_batched_tokens} is less than "
                f"max_num_seqs={self.max_num_seqs}",
                help_message="Every running request needs one token per step.",
            )
