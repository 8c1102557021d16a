"""What is wrong with a checkpoint, said before it costs anything: what is missing, misshapen, unused.

Only headers are read here; numbers that are not finite are found while packing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.errors import CheckpointError
from local_backend.kernels.base import QuantizedTensor
from local_backend.store.checkpoint import Checkpoint
from local_backend.store.listing import listed
from local_backend.store.tensor_shapes import expected_shapes, unused_tensors

__all__ = ["UnusedTensors", "check_finite", "check_tensors", "report_unused"]

MAX_LISTED = 50
_HELP_NOT_FINITE = (
    "The weights are damaged, or overflowed when they were converted; fetch or convert them again."
)


@dataclass(frozen=True, slots=True)
class UnusedTensors:
    """Tensors of a checkpoint that the model does not use, for one reason.

    Attributes:
        reason: Why they are not used.
        names: All of them, sorted.
        expected: Whether published checkpoints have them; others may mean a model that is read wrongly.
    """

    reason: str
    names: tuple[str, ...]
    expected: bool

    def __str__(self) -> str:
        return f"{self.reason}, not used: {listed(_grouped(self.names), 8)}"


def check_tensors(checkpoint: Checkpoint) -> None:
    """Check that every tensor is there, has the shape that the config gives it, and is of a type we read.

    Raises:
        CheckpointError: Some are missing or misshapen; they are listed, experts of a layer as one.
        UnsupportedModelError: One is stored in a type that is not read.
    """
    expected, present = expected_shapes(checkpoint.config), checkpoint.names()
    missing = [name for name in expected if name not in present and not name.endswith(".bias")]
    if missing:
        raise CheckpointError(
            f"{checkpoint.path} lacks {len(missing)} tensors: {listed(_grouped(missing), MAX_LISTED)}",
            help_message="Copy the whole checkpoint; for a sharded one, every shard.",
        )
    used = [name for name in expected if name in present]
    _check_shapes(checkpoint, {name: expected[name] for name in used})
    checkpoint.check_types(used)


def _check_shapes(checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [name for name, shape in expected.items() if checkpoint.shape(name) != shape]
    if wrong:
        details = [
            f"{name} is {list(checkpoint.shape(name))} instead of {list(expected[name])} "
            f"({checkpoint.file(name).name})"
            for name in wrong
        ]
        raise CheckpointError(
            f"{checkpoint.path}: {len(wrong)} tensors do not have the shape that the config says: "
            f"{listed(details, MAX_LISTED)}",
            help_message="The config and the weights belong to different models; fetch both again.",
        )


def report_unused(checkpoint: Checkpoint) -> list[UnusedTensors]:
    """Group the tensors that the model does not use by the reason why."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for name in unused_tensors(checkpoint.config, checkpoint.names()):
        groups.setdefault(_why_unused(checkpoint.config, name), []).append(name)
    return [UnusedTensors(reason, tuple(names), known) for (reason, known), names in groups.items()]


def check_finite(
    checkpoint: Checkpoint, name: str, weights: QuantizedTensor | Tensor, first_row: int
) -> None:
    """Check that some rows of a tensor are numbers; of quantised ones the scales, a thirty-second of it.

    Args:
        checkpoint: Where they come from.
        name: The tensor.
        weights: The rows.
        first_row: Number of the first of them in the tensor.

    Raises:
        CheckpointError: A number is NaN or infinite; names file, tensor and row.
    """
    for part in (weights.scale, weights.minimum) if isinstance(weights, QuantizedTensor) else (weights,):
        if part is None or bool(torch.isfinite(part).all()):
            continue
        finite = torch.isfinite(part.view(part.shape[0] if part.dim() else 1, -1)).all(dim=1)
        row = first_row + int(finite.logical_not().nonzero()[0, 0])
        raise CheckpointError(
            f"{checkpoint.file(name)}: tensor {name!r} has NaN or infinity in row {row}; "
            "expected finite numbers",
            help_message=_HELP_NOT_FINITE,
        )


def _why_unused(config: ModelConfig, name: str) -> tuple[str, bool]:
    layer = re.match(r"(?:model\.layers|blk)\.(\d+)\.", name)
    if layer is not None and int(layer[1]) >= config.num_hidden_layers:
        used = int(layer[1]) < config.num_cached_layers
        part = "'s copies of the embedding and the output matrix" if used else ""
        return f"model.layers.{layer[1]}: multi-token prediction module{part}", True
    if "rotary_emb.inv_freq" in name:
        return "rotary frequencies, which follow from the config", True
    if name == "lm_head.weight":
        return "output matrix of a model whose config ties it to the embedding", True
    return "tensors that this architecture does not have", False


def _grouped(names: Iterable[str]) -> list[str]:
    """Names with the experts of a layer as one, in order."""
    counts: dict[str, int] = {}
    for name in names:
        pattern = re.sub(r"\.experts\.\d+\.", ".experts.*.", name)
        counts[pattern] = counts.get(pattern, 0) + 1
    return [f"{name} ({count} experts)" if ".*." in name else name for name, count in counts.items()]
