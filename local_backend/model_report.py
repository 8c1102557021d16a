"""What `models info` says about a model: its size, its cache, what it would take here. Loads no weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from local_backend.architecture import ModelConfig
from local_backend.config import EngineConfig
from local_backend.errors import CheckpointError
from local_backend.kernels.base import Kernels, StoredForm
from local_backend.kernels.dispatch import select_device, select_kernels
from local_backend.load_plan import LoadPlan
from local_backend.load_planner import plan_shape
from local_backend.store.cache_report import CacheClaim, CacheRow, cache_claim, cache_rows, rival_numbers
from local_backend.store.catalog import resolve_model
from local_backend.store.checkpoint import Checkpoint, open_checkpoint
from local_backend.store.footprint import (
    CacheNumbers,
    ParameterCount,
    cache_numbers,
    count_parameters,
)
from local_backend.store.model_config import config_from_hf
from local_backend.store.packed_size import packed_size, stored_forms
from local_backend.store.published import find_published, published_shapes
from local_backend.store.shards import read_json
from local_backend.store.tensor_checks import check_tensors, report_unused

__all__ = ["MemoryRow", "ModelReport", "report_model"]

SourceKind = Literal["checkpoint", "config", "published"]
WeightDtype = Literal["float32", "bfloat16", "int8", "int4", "as stored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """What running takes with weights in one type.

    Attributes:
        dtype: Type of the weights; "as stored" for a source that is quantised already.
        bits_per_weight: What a number of a matrix takes, scales included.
        weight_bytes: All weights.
        needed_bytes: With the cache of all requests and working buffers.
        fits: Whether that is available here.
    """

    dtype: WeightDtype
    bits_per_weight: float
    weight_bytes: int
    needed_bytes: int
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """Everything there is to say without loading the model.

    Attributes:
        name: As it was asked for.
        kind: A checkpoint, a config.json alone, or a published shape.
        source: Path, or where the shape was published.
        rival_numbers: What DeepSeek 67B keeps per token, to compare `cache` with.
        claim: None without latent attention.
        problems: Why loading would fail, in words.
        unused: Tensors that the model does not use, in words.
    """

    name: str
    kind: SourceKind
    source: str
    config: ModelConfig
    parameters: ParameterCount
    cache: CacheNumbers
    cache_rows: tuple[CacheRow, ...]
    rival_numbers: int
    claim: CacheClaim | None
    memory: tuple[MemoryRow, ...]
    plan: LoadPlan
    problems: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def report_model(target: str | Path, engine: EngineConfig | None = None) -> ModelReport:
    """Describe a model; problems of its files are part of the report.

    Args:
        target: A catalogue id, the id of a published shape, a checkpoint folder (config.json suffices), a
            config.json, or a .gguf file.
        engine: Limits and choices of the engine that would run it; None takes the defaults.

    Raises:
        UnknownModelError: No such id, no such path.
        CheckpointError: The config or the file's header cannot be read.
        UnsupportedModelError: The architecture is not implemented.
        ConfigError: The engine's choices do not go with this model.
    """
    config = engine or EngineConfig()
    kernels = select_kernels(config.kernels, select_device(config.device))
    found = _find(target)
    contents = _Contents() if found.checkpoint is None else _look_into(found.checkpoint)
    model = found.config
    plan = plan_shape(model, config, kernels, stored=contents.stored, names=contents.names)
    return ModelReport(
        name=str(target),
        kind=found.kind,
        source=found.source,
        config=model,
        parameters=count_parameters(model),
        cache=cache_numbers(model),
        cache_rows=tuple(cache_rows(model)),
        rival_numbers=rival_numbers(),
        claim=cache_claim(model),
        memory=tuple(_memory_rows(model, kernels, plan)),
        plan=plan,
        problems=contents.problems,
        unused=contents.unused,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    kind: SourceKind
    source: str
    config: ModelConfig
    checkpoint: Checkpoint | None = None


def _find(target: str | Path) -> _Found:
    if isinstance(target, str) and any(target in (row.id, *row.aliases) for row in published_shapes()):
        row = find_published(target)
        return _Found("published", row.source, row.config)
    path = Path(target).expanduser()
    if path.suffix == ".json" and path.is_file():
        return _Found("config", str(path), config_from_hf(read_json(path)).without_mtp())
    path = resolve_model(target)
    checkpoint = open_checkpoint(path)
    if path.is_dir() and not any(path.glob("*.safetensors*")):
        return _Found("config", str(path), config_from_hf(read_json(path / "config.json")).without_mtp())
    return _Found("checkpoint", str(path), checkpoint.config, checkpoint)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What the headers of a checkpoint say."""

    stored: dict[str, StoredForm] = field(default_factory=dict)
    names: frozenset[str] | None = None
    problems: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def _look_into(checkpoint: Checkpoint) -> _Contents:
    try:
        names = frozenset(checkpoint.names())
    except CheckpointError as error:  # a missing shard hides what the others hold
        return _Contents(problems=(str(error),))
    unused = tuple(str(group) for group in report_unused(checkpoint))
    try:
        check_tensors(checkpoint)
        return _Contents(stored_forms(checkpoint), names, (), unused)
    except CheckpointError as error:
        return _Contents({}, names, (str(error),), unused)


def _memory_rows(model: ModelConfig, kernels: Kernels, plan: LoadPlan) -> Iterator[MemoryRow]:
    """Floating point by arithmetic, for the kernels keep one such type; the rest as our packer stores it."""
    total = count_parameters(model).total
    if plan.keeps_source:
        bits = 8 * plan.weight_bytes / total
        yield _memory_row("as stored", bits, plan.weight_bytes, plan)
    yield _memory_row("float32", 32, 4 * total, plan)
    yield _memory_row("bfloat16", 16, 2 * total, plan)
    packed: tuple[Literal["int8", "int4"], ...] = ("int8", "int4")
    for scheme in packed:
        size = packed_size(model, kernels, scheme)
        yield _memory_row(scheme, size.bits_per_weight, size.file_bytes, plan)


def _memory_row(dtype: WeightDtype, bits: float, weight_bytes: int, plan: LoadPlan) -> MemoryRow:
    needed = weight_bytes + plan.cache_bytes + plan.overhead_bytes
    return MemoryRow(
        dtype=dtype,
        bits_per_weight=bits,
        weight_bytes=weight_bytes,
        needed_bytes=needed,
        fits=needed <= plan.available_bytes,
    )
