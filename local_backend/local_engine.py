"""The facade that owns one loaded model: tokenizer, prompt family and engine worker.

This file is the only place that holds both ends of the text. It knows nothing of HTTP.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from local_backend.config import EngineConfig
from local_backend.errors import CheckpointError
from local_backend.families.model_text import ModelText, load_model_text
from local_backend.families.registry import Family
from local_backend.families.tokenizer import Tokenizer
from local_backend.kernels.threads import settle_thread_waiting
from local_backend.sampling_params import SamplingDefaults, SamplingParams
from local_backend.sequence import SequenceOutput, TokenConstraint
from local_backend.store.catalog import catalogue, model_path, resolve_model
from local_backend.store.source_hash import remembered_hash, source_hash

if TYPE_CHECKING:
    from local_backend.engine.gate_statistics import GateStatistics
    from local_backend.engine.worker import EngineWorker

__all__ = ["Generation", "LoadProgress", "LocalEngine", "Notice", "TextEngine", "load_text"]

LoadProgress = Callable[[int, int], None]
Notice = Callable[[str], None]

_log = logging.getLogger(__name__)


class Generation(Protocol):
    """One running request, read token by token; safe to cancel from any thread."""

    def __iter__(self) -> Iterator[SequenceOutput]:
        """Yield outputs until one has a finish_reason; raises LocalBackendError if the engine fails."""

    def cancel(self) -> None:
        """Stop generating and free the blocks at once; idempotent. A blocked reader wakes up."""


class TextEngine(Protocol):
    """What the request handler needs of a model; LocalEngine is the real one."""

    @property
    def model_id(self) -> str:
        """Name reported on the wire."""

    @property
    def max_model_len(self) -> int:
        """Context in tokens, prompt and completion together."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""

    @property
    def family(self) -> Family:
        """Prompt format of this model."""

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """What the publisher recommends where a request says nothing."""

    def submit(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        cache_salt: str = "",
        constraint: TokenConstraint | None = None,
    ) -> Generation:
        """Queue a request; returns at once.

        Raises:
            RequestTooLongError: The prompt does not fit the context.
            EngineStoppedError: The engine is closed.
        """

    def close(self) -> None:
        """Stop the engine thread and release memory; idempotent."""


class LocalEngine:
    """A model loaded into this process; implements TextEngine.

    Args:
        model_id: Name reported on the wire.
        tokenizer: Its tokenizer.
        family: Its prompt format.
        worker: The running engine.
        sampling_defaults: What the publisher recommends.
    """

    def __init__(
        self,
        model_id: str,
        tokenizer: Tokenizer,
        family: Family,
        worker: EngineWorker,
        sampling_defaults: SamplingDefaults,
    ) -> None:
        self.sampling_defaults = sampling_defaults
        self.model_id = model_id
        self.tokenizer = tokenizer
        self.family = family
        self._worker = worker

    @classmethod
    def load(
        cls,
        model: str | Path,
        config: EngineConfig | None = None,
        *,
        progress: LoadProgress | None = None,
        notice: Notice | None = None,
    ) -> LocalEngine:
        """Load a catalogue model, a .gguf file or a Hugging Face folder.

        The first load packs the weights for this machine into the cache directory; later ones map that copy.

        Args:
            model: Catalogue id or path.
            config: Limits of the engine; None takes the defaults.
            progress: Called with (matrices packed, matrices in all) during a first load.
            notice: Called with one line before the weights are touched, when their precision was chosen here
                or when they do not fit the memory available. The plan is logged in any case.

        Raises:
            ModelError: No such model, or not pulled yet.
            CheckpointError: The files are damaged, incomplete or of an unsupported kind.
            ConfigError: The context does not fit max_kv_bytes, or the model not the memory (load_plan.py).
            DiskSpaceError: The packed copy does not fit the disk.
        """
        path = resolve_model(model)
        _check_if_new(path)
        digest, defaults = source_hash(path), _sampling_defaults(path)
        # Text first: a bad tokenizer is reported before the weights are packed.
        text = load_model_text(path, digest)
        worker = _start_engine(path, digest, config or EngineConfig(), progress, notice)
        named = isinstance(model, str) and not Path(model).exists()
        return cls(str(model) if named else path.stem, text.tokenizer, text.family, worker, defaults)

    @property
    def max_model_len(self) -> int:
        """Context in tokens, prompt and completion together."""
        return self._worker.max_model_len

    def gate_statistics(self) -> GateStatistics | None:
        """Return how evenly the experts have been used so far; None for a model without experts."""
        return self._worker.gate_statistics()

    def submit(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        cache_salt: str = "",
        constraint: TokenConstraint | None = None,
    ) -> Generation:
        """Queue a request; returns at once.

        Raises:
            RequestTooLongError: The prompt does not fit the context.
            RequestError: The prompt is empty or not of this vocabulary.
            EngineStoppedError: The engine is closed.
        """
        return self._worker.submit(prompt_token_ids, params, cache_salt=cache_salt, constraint=constraint)

    def close(self) -> None:
        """Stop the engine thread and release memory; idempotent."""
        self._worker.close()


def load_text(model: str | Path) -> ModelText:
    """Read the text side of a catalogue model, a .gguf file or a Hugging Face folder; no weights.

    Raises:
        ModelError: No such model, or not pulled yet.
        CheckpointError: Its tokenizer or template cannot be read.
    """
    path = resolve_model(model)
    return load_model_text(path, source_hash(path))


def _check_if_new(path: Path) -> None:
    """Find from its headers what a model never seen before lacks, before gigabytes of it are hashed."""
    if remembered_hash(path) is None:
        settle_thread_waiting()
        from local_backend.store.checkpoint import open_checkpoint  # noqa: PLC0415 - loads torch
        from local_backend.store.tensor_checks import check_tensors  # noqa: PLC0415

        check_tensors(open_checkpoint(path))


def _sampling_defaults(path: Path) -> SamplingDefaults:
    """Read a folder's generation_config.json, or the catalogue's row for a file of the store."""
    if path.is_dir():
        config = path / "generation_config.json"
        try:
            values = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
            values = {**values}
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"{config} is not a JSON object: {error}", help_message="Fetch the file again."
            ) from error
        known = {field.name for field in fields(SamplingDefaults)} & values.keys()
        return SamplingDefaults(**{name: values[name] for name in known if values[name] is not None})
    return next((row.sampling for row in catalogue() if model_path(row) == path), SamplingDefaults())


def _start_engine(
    path: Path, digest: str, config: EngineConfig, progress: LoadProgress | None, notice: Notice | None
) -> EngineWorker:
    settle_thread_waiting()
    import torch  # noqa: PLC0415 - takes more than a second

    from local_backend.engine.engine import Engine  # noqa: PLC0415
    from local_backend.engine.worker import EngineWorker  # noqa: PLC0415
    from local_backend.kernels.dispatch import select_device, select_kernels  # noqa: PLC0415
    from local_backend.load_planner import plan_load  # noqa: PLC0415
    from local_backend.models.decoder import Decoder  # noqa: PLC0415
    from local_backend.store.disk_tier import open_disk_tier  # noqa: PLC0415
    from local_backend.store.packed import load_or_pack, packed_name  # noqa: PLC0415

    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    kernels = select_kernels(config.kernels, select_device(config.device), config.num_threads)
    plan = plan_load(path, config, kernels, digest=digest)
    _log.info("%s: %s", path.name, plan.describe())
    plan.check()
    if notice is not None and plan.worth_saying:
        notice(f"{path.name}: {plan.describe()}")
    packed = load_or_pack(path, digest, kernels, plan.quantization, progress)
    engine = Engine(Decoder.build(packed, kernels), config)
    weights_name = packed_name(digest, plan.quantization, kernels.layout)
    tier = open_disk_tier(engine.pool, weights_name, config.prefix_cache_bytes)
    if tier is not None:
        engine.keep_prefixes(tier)
    return EngineWorker(engine)
