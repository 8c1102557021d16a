"""The file format of packed weights: safetensors, with a manifest in its metadata.

It is written tensor by tensor and read by memory mapping. What is packed is store/packing.py's business.
"""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from local_backend.architecture import MLAConfig, ModelConfig, MoEConfig, RopeScaling
from local_backend.errors import CheckpointError, ConfigError
from local_backend.kernels.base import PackedWeight
from local_backend.store.huge_pages import advise_huge_pages

__all__ = [
    "PackedModel",
    "PackedWriter",
    "header_room",
    "max_tensors",
    "read_packed_config",
    "read_packed_file",
]

_ALIGNMENT = 64
_BYTES_PER_ENTRY = 160
_DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8", torch.int8: "I8"}


@dataclass(frozen=True, slots=True)
class PackedModel:
    """A packed checkpoint, memory-mapped.

    Attributes:
        config: Shape of the model.
        weights: Matrices by Hugging Face name without ".weight"; stacked ones joined with "+".
        experts: The same matrix of every routed expert, by a name with `*` for the expert's number.
        vectors: Norm weights, biases and gates by full Hugging Face name, float32.
    """

    config: ModelConfig
    weights: dict[str, PackedWeight]
    experts: dict[str, tuple[PackedWeight, ...]]
    vectors: dict[str, Tensor]

    def to(self, device: torch.device) -> PackedModel:
        """Return the model with every tensor on a device; on the CPU tensors stay memory-mapped."""
        return replace(
            self,
            weights={name: weight.to(device) for name, weight in self.weights.items()},
            experts={
                name: tuple(weight.to(device) for weight in copies) for name, copies in self.experts.items()
            },
            vectors={name: vector.to(device) for name, vector in self.vectors.items()},
        )


def max_tensors(num_stacks: int, num_vectors: int) -> int:
    """Most tensors that a file holds: a stack has up to three matrices of up to three parts."""
    return 9 * num_stacks + num_vectors


def header_room(num_tensors: int) -> int:
    """Bytes that a file reserves for its header, after the eight that say so."""
    reserve = num_tensors * _BYTES_PER_ENTRY + 8192
    return reserve + (-reserve - 8) % _ALIGNMENT


class PackedWriter:
    """Streams tensors into a file; the header is written last, into reserved room.

    Args:
        file: Open for writing, empty.
        num_tensors: Upper bound on the tensors to come.
    """

    def __init__(self, file: BinaryIO, num_tensors: int) -> None:
        self._file = file
        self._header: dict[str, Any] = {}
        self._weights: dict[str, Any] = {}
        self._header_bytes = header_room(num_tensors)
        self._position = 0

    def add_vector(self, name: str, tensor: Tensor) -> None:
        """Append one tensor."""
        self._reserve(name, tensor, list(tensor.shape))
        self._write(name, 0, tensor)

    def add_matrix(self, name: str, packed: PackedWeight, *, number: int = 0, count: int = 1) -> None:
        """Write every part of a packed matrix.

        Args:
            name: Of the matrix, or of `count` equal ones.
            packed: The matrix.
            number: Which of the equal ones it is; the first makes room for all.
            count: How many there will be.
        """
        for part, tensor in packed.tensors.items():
            full_name = f"{name}:{part}"
            if number == 0:
                self._reserve(full_name, tensor, [count, *tensor.shape])
            self._write(full_name, number * tensor.nbytes, tensor)
        self._weights[name] = {
            "scheme": packed.scheme,
            "rows": packed.rows,
            "columns": packed.columns,
            "parts": list(packed.tensors),
        }

    def _reserve(self, name: str, tensor: Tensor, shape: list[int]) -> None:
        end = self._position + tensor.itemsize * math.prod(shape)
        self._header[name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": shape,
            "data_offsets": [self._position, end],
        }
        self._position = end

    def _write(self, name: str, offset: int, tensor: Tensor) -> None:
        self._file.seek(8 + self._header_bytes + self._header[name]["data_offsets"][0] + offset)
        self._file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)

    def finish(self, config: ModelConfig) -> None:
        """Write the header and force everything to disk.

        Raises:
            CheckpointError: The header outgrew its room.
        """
        manifest = {"config": asdict(config), "weights": self._weights}
        self._header["__metadata__"] = {"manifest": json.dumps(manifest)}
        header = json.dumps(self._header).encode()
        if len(header) > self._header_bytes:
            raise CheckpointError(
                f"the packed file's header needs {len(header)} bytes, {self._header_bytes} were reserved",
                help_message="Please report this with the model's name.",
            )
        self._file.seek(0)
        self._file.write(struct.pack("<Q", self._header_bytes) + header.ljust(self._header_bytes))
        self._file.flush()
        os.fsync(self._file.fileno())


def read_packed_file(path: Path) -> PackedModel:
    """Memory-map a file that PackedWriter has finished.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            manifest = json.loads(file.metadata()["manifest"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        advise_huge_pages(tensors.values())
        copies = {name: _copies(name, row, tensors) for name, row in manifest["weights"].items()}
        return PackedModel(
            config=_config_from_json(manifest["config"]),
            weights={name: equal[0] for name, equal in copies.items() if "*" not in name},
            experts={name: equal for name, equal in copies.items() if "*" in name},
            vectors={name: tensor for name, tensor in tensors.items() if ":" not in name},
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}",
            help_message=f"Remove {path.parent} and run again to repack.",
        ) from error


def read_packed_config(path: Path) -> ModelConfig | None:
    """Read the shape that a packed file is of, and nothing else; None where there is no sound file."""
    try:
        with safe_open(path, framework="pt") as file:
            return _config_from_json(json.loads(file.metadata()["manifest"])["config"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, ConfigError):
        return None


def _copies(name: str, row: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[PackedWeight, ...]:
    stacked = [tensors[f"{name}:{part}"].unbind(0) for part in row["parts"]]
    return tuple(
        PackedWeight(row["scheme"], row["rows"], row["columns"], dict(zip(row["parts"], parts, strict=True)))
        for parts in zip(*stacked, strict=True)
    )


def _config_from_json(values: dict[str, Any]) -> ModelConfig:
    scaling = values.pop("rope_scaling")
    if scaling is not None:
        scaling = RopeScaling(**{**scaling, "factors": tuple(scaling["factors"])})
    values["eos_token_ids"] = tuple(values["eos_token_ids"])
    mla, moe = values.pop("mla"), values.pop("moe")
    return ModelConfig(
        **values,
        rope_scaling=scaling,
        mla=None if mla is None else MLAConfig(**mla),
        moe=None if moe is None else MoEConfig(**moe),
    )
