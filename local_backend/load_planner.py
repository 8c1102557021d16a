"""Make the plan of a load (load_plan.py) from a checkpoint's headers, or from a shape alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from local_backend.architecture import ModelConfig
from local_backend.cache.sizing import bytes_per_token, fit_context
from local_backend.config import EngineConfig, Quantization
from local_backend.engine.engine import batched_tokens
from local_backend.kernels.base import Kernels, StoredForm
from local_backend.load_plan import LoadPlan
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.memory import available_memory
from local_backend.store.packed import WEIGHTS_FILE, packed_name
from local_backend.store.packed_file import read_packed_config
from local_backend.store.packed_size import FixedQuantization, packed_size, stored_forms
from local_backend.store.paths import packed_dir

__all__ = ["plan_load", "plan_shape"]

# The interpreter's share of a first request: tokenizer, logits, slices of expanded weights. Measured with the
# 0.5B starter model: 340 MB above its weights and cache.
BASE_BYTES = 400_000_000
# Rows of a pass that are alive at once, in float32: gate and up projection, their product, the next input.
LIVE_ROWS = 3
SHORT_CONTEXT = 4096


def plan_load(
    path: Path,
    config: EngineConfig,
    kernels: Kernels,
    *,
    digest: str | None = None,
    available: int | None = None,
) -> LoadPlan:
    """Plan to load a checkpoint; reads headers and single rows, or a packed copy's header alone.

    Args:
        path: The checkpoint.
        config: What was asked for.
        kernels: Decide the layout and the device.
        digest: The checkpoint's SHA-256, to look for a packed copy; None takes it that there is none.
        available: Memory in bytes; None looks.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ConfigError: The cache cannot hold the context asked for.
    """
    room = _available(kernels.device) if available is None else available
    copies = {} if digest is None else _packed_copies(digest, config.quantization, kernels)
    for quantization, (model, weight_bytes) in copies.items():
        sizes = _Sizes(model, config, kernels, room, keeps_source=path.is_file())
        plan = sizes.plan(quantization, weight_bytes, on_disk=True)
        if plan.fits or config.quantization != "auto":
            return plan
    checkpoint = open_checkpoint(path)
    plan = plan_shape(
        checkpoint.config,
        config,
        kernels,
        stored=stored_forms(checkpoint),
        names=checkpoint.names(),
        available=room,
    )
    return replace(plan, disk_bytes=0) if plan.quantization in copies else plan


def plan_shape(
    model: ModelConfig,
    config: EngineConfig,
    kernels: Kernels,
    *,
    stored: Mapping[str, StoredForm] | None = None,
    names: Iterable[str] | None = None,
    available: int | None = None,
) -> LoadPlan:
    """Plan to load a model of which only the shape is known.

    Args:
        model: Its shape.
        config: What was asked for.
        kernels: Decide the layout and the device.
        stored, names: What the source has quantised, and its tensors; see `packed_size`.
        available: Memory in bytes; None looks.

    Raises:
        ConfigError: The cache cannot hold the context asked for.
    """
    room = _available(kernels.device) if available is None else available
    sizes = _Sizes(model, config, kernels, room, keeps_source=bool(stored))
    present = None if names is None else set(names)
    choices = _candidates(config.quantization)
    for quantization in choices:
        size = packed_size(model, kernels, quantization, stored=stored, names=present)
        plan = sizes.plan(quantization, size.file_bytes, on_disk=False)
        if plan.fits or plan.keeps_source:
            break
    return plan


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What does not depend on the weights' precision."""

    model: ModelConfig
    config: EngineConfig
    kernels: Kernels
    available: int
    keeps_source: bool

    def plan(self, quantization: FixedQuantization, weight_bytes: int, *, on_disk: bool) -> LoadPlan:
        """Put a plan together for one precision."""
        kept = self.kernels.dtype if self.config.cache_dtype == "auto" else self.config.cache_dtype
        model = self.model if self.config.uses_mtp else self.model.without_mtp()
        per_token = bytes_per_token(model, kept)
        slots, max_model_len = fit_context(model, self.config, per_token)
        overhead = self._overhead(max_model_len)
        return LoadPlan(
            asked=self.config.quantization,
            quantization=quantization,
            keeps_source=self.keeps_source,
            weight_bytes=weight_bytes,
            cache_bytes=slots * per_token,
            overhead_bytes=overhead,
            pinned_bytes=overhead + min(slots, max_model_len, SHORT_CONTEXT) * per_token,
            available_bytes=self.available,
            disk_bytes=0 if on_disk else weight_bytes,
            mapped=self.kernels.device.type == "cpu",
        )

    def _overhead(self, max_model_len: int) -> int:
        model, mla, expanded = self.model, self.model.mla, 0
        widest = max(2 * model.intermediate_size, model.num_attention_heads * model.head_dim)
        if mla is not None:
            # Both halves of kv_b_proj lie in memory as plain numbers, for the absorbed form.
            per_head = (mla.qk_nope_head_dim + mla.v_head_dim) * mla.kv_lora_rank
            expanded = model.num_cached_layers * model.num_attention_heads * per_head
        rows = LIVE_ROWS * batched_tokens(model, self.config) * (widest + model.hidden_size)
        rotary = max_model_len * model.rotary_dim
        return BASE_BYTES + 4 * (rows + rotary) + expanded * self.kernels.dtype.itemsize


def _candidates(quantization: Quantization) -> tuple[FixedQuantization, ...]:
    return ("int8", "int4") if quantization == "auto" else (quantization,)


def _packed_copies(
    digest: str, quantization: Quantization, kernels: Kernels
) -> dict[FixedQuantization, tuple[ModelConfig, int]]:
    """Shape and size of the packed copies that are there."""
    found: dict[FixedQuantization, tuple[ModelConfig, int]] = {}
    for candidate in _candidates(quantization):
        file = packed_dir() / packed_name(digest, candidate, kernels.layout) / WEIGHTS_FILE
        if file.exists() and (model := read_packed_config(file)) is not None:
            found[candidate] = model, file.stat().st_size
    return found


def _available(device: torch.device) -> int:
    return available_memory() if device.type == "cpu" else torch.cuda.mem_get_info(device)[0]
