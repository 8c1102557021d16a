"""What the packer needs of a checkpoint, whatever its container."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.errors import CheckpointError
from local_backend.kernels.base import QuantizedTensor
from local_backend.store.tensor_shapes import mtp_prefix

__all__ = ["Checkpoint", "RowRange", "carried", "interleave_rotary_rows", "open_checkpoint"]


RowRange = tuple[int, int]


class Checkpoint(Protocol):
    """Tensors by Hugging Face name, read one at a time.

    Rows of projections that carry rotary position come in interleaved order (layers/rope.py): query and key
    projections, and with latent attention the rotary part of each query head and of kv_a_proj_with_mqa.
    """

    @property
    def path(self) -> Path:
        """The file or folder."""

    @property
    def config(self) -> ModelConfig:
        """Shape of the model."""

    def names(self) -> set[str]:
        """Names of all tensors present: Hugging Face's, or the container's own for one that has none."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, (out_features, in_features) for a matrix; reads no weights."""

    def file(self, name: str) -> Path:
        """The file that holds a tensor, for messages."""

    def check_types(self, names: Iterable[str]) -> None:
        """Raise CheckpointError when one of these is stored in a type that is not read; reads no weights."""

    def matrix(self, name: str, rows: RowRange | None = None) -> QuantizedTensor | Tensor:
        """Read a weight matrix, or the rows [first, last) of it; the memory is the caller's and not kept."""

    def vector(self, name: str) -> Tensor:
        """Read a norm weight, a bias or a gate as float32, in its own shape."""


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a .gguf file or a Hugging Face folder.

    Raises:
        CheckpointError: Missing, truncated or neither of the two.
        UnsupportedModelError: The architecture is not implemented.
    """
    if path.is_dir():
        from local_backend.store.hf_folder import HFFolder  # noqa: PLC0415 - safetensors only when needed

        return HFFolder(path)
    if path.is_file():
        from local_backend.store.gguf_file import GGUFFile  # noqa: PLC0415 - gguf only when needed

        return GGUFFile(path)
    raise CheckpointError(f"{path} does not exist", help_message="Pass a .gguf file or a checkpoint folder.")


def carried(config: ModelConfig, names: Container[str]) -> ModelConfig:
    """Return the shape of what is there: configs name prediction modules that conversions have left out."""
    return config if f"{mtp_prefix(config)}.eh_proj.weight" in names else config.without_mtp()


def interleave_rotary_rows(num_heads: int, head_dim: int, plain: int = 0) -> Tensor:
    """Row order that puts the two halves of each rotated pair side by side: 0, d/2, 1, d/2 + 1, ...

    Args:
        num_heads, head_dim: The rows are num_heads blocks of head_dim.
        plain: Leading rows of each block that are not rotated and stay where they are.
    """
    rotated = torch.arange(plain, head_dim).view(2, -1).t().reshape(-1)
    within = torch.cat((torch.arange(plain), rotated))
    return (torch.arange(num_heads)[:, None] * head_dim + within).reshape(-1)
