"""Read a Hugging Face folder: config.json and safetensors, one file or sharded with an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from local_backend.errors import CheckpointError, UnsupportedModelError
from local_backend.kernels.base import QuantizedTensor
from local_backend.store.checkpoint import RowRange, interleave_rotary_rows
from local_backend.store.model_config import config_from_hf

__all__ = ["HFFolder"]

_COPY_AGAIN = "The file may be cut short; copy it again."
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: The file is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}", help_message="The folder is not a complete checkpoint."
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object", help_message="Fetch the file again.")
    return value


class HFFolder:
    """A checkpoint folder; shards are memory-mapped and read tensor by tensor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = config_from_hf(read_json(path / "config.json"))

    @cached_property
    def _shard_of(self) -> dict[str, Path]:
        index = self.path / "model.safetensors.index.json"
        if index.exists():
            weight_map = read_json(index).get("weight_map")
            if not isinstance(weight_map, dict):
                raise CheckpointError(f"{index} has no weight_map", help_message=_COPY_AGAIN)
            shards = {name: self.path / str(file) for name, file in weight_map.items()}
            missing = sorted({str(shard) for shard in shards.values() if not shard.exists()})
            if missing:
                raise CheckpointError(
                    f"{index.name} names shards that are missing: {', '.join(missing)}",
                    help_message="Copy the whole checkpoint folder.",
                )
            return shards
        files = sorted(self.path.glob("*.safetensors"))
        if not files:
            raise CheckpointError(
                f"{self.path} has no .safetensors file",
                help_message="Pickled weights are not read; convert them.",
            )
        return {name: file for file in files for name in self._keys(file)}

    def _keys(self, file: Path) -> list[str]:
        with self._open(file) as shard:
            return list(shard.keys())

    @contextmanager
    def _open(self, file: Path) -> Iterator[Any]:
        try:
            with safe_open(file, framework="pt") as shard:
                yield shard
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}", help_message=_COPY_AGAIN) from error

    def names(self) -> set[str]:
        """Names of all tensors present."""
        return set(self._shard_of)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        with self._open(self._shard_of[name]) as shard:
            return tuple(shard.get_slice(name).get_shape())

    def matrix(self, name: str, rows: RowRange | None = None) -> QuantizedTensor | Tensor:
        """Read a weight matrix, or some of its rows, as it is stored."""
        return self._read(name, rows)

    def vector(self, name: str) -> Tensor:
        """Read a norm weight or a bias as float32."""
        return self._read(name, None).float()

    def _read(self, name: str, rows: RowRange | None) -> Tensor:
        with self._open(self._shard_of[name]) as shard:
            tensor: Tensor = shard.get_tensor(name)  # a view of the mapped file
        _check_dtype(name, tensor)
        order = self._rotary_order(name)
        if order is not None:
            return tensor[order if rows is None else order[rows[0] : rows[1]]]
        return tensor if rows is None else tensor[rows[0] : rows[1]]

    def _rotary_order(self, name: str) -> Tensor | None:
        heads = {".q_proj.": self.config.num_attention_heads, ".k_proj.": self.config.num_key_value_heads}
        for part, num_heads in heads.items():
            if part in name:
                return interleave_rotary_rows(num_heads, self.config.head_dim)
        return None


def _check_dtype(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in _DTYPES:
        raise UnsupportedModelError(
            f"tensor {name!r} has type {tensor.dtype}, which is not read",
            help_message="Use a checkpoint in float32, float16 or bfloat16, or a GGUF file.",
        )
