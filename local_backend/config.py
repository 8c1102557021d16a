"""The limits and choices of an engine, frozen; the shape of a model is in architecture.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from local_backend.checks import check_choice, check_not_negative, check_positive
from local_backend.errors import ConfigError

__all__ = ["CacheDtype", "DeviceChoice", "EngineConfig", "KernelChoice", "Quantization", "Speculation"]

KernelChoice = Literal["auto", "native", "torch", "reference"]
Quantization = Literal["auto", "none", "int8", "int4"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
CacheDtype = Literal["auto", "float32", "bfloat16", "int8", "int6"]
Speculation = Literal["auto", "off", "prompt-lookup", "mtp"]
DEFAULT_NUM_SEQS = 64
_CHOICES = {
    "device": DeviceChoice,
    "kernels": KernelChoice,
    "quantization": Quantization,
    "cache_dtype": CacheDtype,
    "speculation": Speculation,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Limits and choices of one engine, fixed for its life.

    Attributes:
        max_model_len: Context in tokens; None takes the model's own, at most what max_kv_bytes can hold.
        max_kv_bytes: Memory for keys and values over all requests.
        max_num_seqs: Requests in one batch; None is 64, or max_num_batched_tokens if that is less.
        max_num_batched_tokens: Tokens of one forward pass; longer prompts are prefilled in chunks of it.
            None is 512, and 2048 for a mixture of experts, where fewer leave each expert too few rows.
        max_step_seconds: While answers run, prompts are prefilled in smaller chunks, of about this time, so
            that no answer waits much longer than that for its next token.
        block_size: Positions per KV block.
        device: Where weights and cache lie; "auto" is the first CUDA device if there is one.
        kernels: "auto" picks the fastest for the device. On a CPU "native" is C++ (docs/kernels.md), "torch"
            its packed int4 operator, "reference" float32 torch throughout, on any device.
        quantization: For unquantised sources: "none" keeps them, "int8"/"int4" pack in groups of 32,
            "auto" takes int8 if that fits the available memory, else int4 (load_plan.py). Quantised GGUF
            tensors keep their own precision.
        cache_dtype: How keys and values, or latents, are kept. "auto" is the kernels' own type, for latents
            under native kernels int8; "int8" and "int6" rotate and round latents (docs/latent-cache.md) and
            need latent attention.
        prefix_cache_bytes: Disk for prefixes of long prompts, kept between processes and over all models
            (docs/prefix-cache.md); 0 is none, None is 4 GiB or a tenth of the free disk, the lesser.
        speculation: Guess tokens ahead and verify several at once, which changes when tokens come and not
            which (docs/speculation.md). "auto" does so as far as it is measured to pay, from the text so
            far ("prompt-lookup") and by the checkpoint's multi-token prediction module ("mtp").
        num_threads: Threads of the kernels and of torch; None is torch's default, one per core.

    Raises:
        ConfigError: A value is out of range.
    """

    max_model_len: int | None = None
    max_kv_bytes: int = 1 << 30
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_step_seconds: float = 0.5
    block_size: int = 16
    device: DeviceChoice = "auto"
    kernels: KernelChoice = "auto"
    quantization: Quantization = "auto"
    cache_dtype: CacheDtype = "auto"
    prefix_cache_bytes: int | None = None
    speculation: Speculation = "auto"
    num_threads: int | None = None

    def __post_init__(self) -> None:
        positive = ["max_kv_bytes", "block_size"]
        optional = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "num_threads")
        check_positive(self, (*positive, *(name for name in optional if getattr(self, name) is not None)))
        check_not_negative(self, "prefix_cache_bytes")
        if not self.max_step_seconds > 0:
            raise ConfigError(
                f"max_step_seconds={self.max_step_seconds} must be above 0",
                help_message="Pass a time in seconds, such as 0.5.",
            )
        for name, choices in _CHOICES.items():
            check_choice(self, name, get_args(choices))
        if (self.max_num_batched_tokens or self.num_seqs) < self.num_seqs:
            raise ConfigError(
                f"max_num_batched_tokens={self.max_num_batched_tokens} is less than "
                f"max_num_seqs={self.max_num_seqs}",
                help_message="Every running request needs one token per step.",
            )

    @property
    def num_seqs(self) -> int:
        """max_num_seqs, or its default."""
        return self.max_num_seqs or min(DEFAULT_NUM_SEQS, self.max_num_batched_tokens or DEFAULT_NUM_SEQS)

    @property
    def uses_mtp(self) -> bool:
        """Whether a multi-token prediction module is run where there is one."""
        return self.speculation in ("auto", "mtp")
