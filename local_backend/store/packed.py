"""Pack a checkpoint into a kernel set's layout once, keep it, memory-map it from then on.

One safetensors file per (source hash, quantisation, layout): tensors plus a manifest in its metadata. It is
written under a temporary name, tensor by tensor, so that peak memory is one matrix, then renamed.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from local_backend.config import ModelConfig, Quantization, RopeScaling
from local_backend.errors import CheckpointError
from local_backend.kernels.base import GROUP_SIZE, Kernels, PackedWeight, QuantizedTensor
from local_backend.store.checkpoint import Checkpoint, open_checkpoint
from local_backend.store.paths import packed_dir
from local_backend.store.quantize import quantize_rows

__all__ = ["PackedModel", "load_or_pack", "load_packed", "pack_checkpoint", "packed_name"]

FORMAT_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
ALIGNMENT = 64
PackProgress = Callable[[int, int], None]
_DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8", torch.int8: "I8"}


@dataclass(frozen=True, slots=True)
class PackedModel:
    """A packed checkpoint, memory-mapped.

    Attributes:
        config: Shape of the model.
        weights: Matrices by Hugging Face name without ".weight"; stacked ones joined with "+".
        vectors: Norm weights and biases by full Hugging Face name, float32.
    """

    config: ModelConfig
    weights: dict[str, PackedWeight]
    vectors: dict[str, Tensor]


def load_or_pack(
    path: Path,
    digest: str,
    kernels: Kernels,
    quantization: Quantization,
    progress: PackProgress | None = None,
) -> PackedModel:
    """Map the packed copy of a checkpoint, making it first if there is none.

    Args:
        path: The checkpoint.
        digest: Its SHA-256 (store/source_hash.py).

    Raises:
        CheckpointError: The checkpoint or the copy is damaged, or the copy cannot be written.
    """
    directory = packed_dir() / packed_name(digest, quantization, kernels.layout)
    if not (directory / WEIGHTS_FILE).exists():
        pack_checkpoint(open_checkpoint(path), kernels, quantization, directory, progress)
    return load_packed(directory)


def packed_name(source_hash: str, quantization: Quantization, layout: str) -> str:
    """Directory name of a packed copy."""
    return f"{source_hash}-{quantization}-{layout}-v{FORMAT_VERSION}"


def pack_checkpoint(
    checkpoint: Checkpoint,
    kernels: Kernels,
    quantization: Quantization,
    directory: Path,
    progress: PackProgress | None = None,
) -> None:
    """Write directory/weights.safetensors.

    Args:
        progress: Called with (matrices done, matrices in all).

    Raises:
        CheckpointError: Tensors are missing (all are listed), or the disk is full.
    """
    config = checkpoint.config
    stacks = list(_stacks(config))
    _check_names(checkpoint, stacks)
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f".{WEIGHTS_FILE}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            writer = _Writer(file, reserve=(len(stacks) * 6 + len(checkpoint.names())) * 160 + 8192)
            for index, stack in enumerate(stacks):
                for name, packed in _pack_stack(checkpoint, kernels, quantization, stack):
                    writer.add_weight(name, packed)
                if progress:
                    progress(index + 1, len(stacks))
            for name in sorted(checkpoint.names()):
                if name.endswith((".bias", "norm.weight")):
                    writer.add(name, checkpoint.vector(name))
            writer.finish(config)
        temporary.replace(directory / WEIGHTS_FILE)
    except OSError as error:
        raise CheckpointError(
            f"the packed weights could not be written to {directory}: {error}",
            help_message="Free disk space, or point DEEPSEEK_APPS_CACHE_DIR elsewhere.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_packed(directory: Path) -> PackedModel:
    """Memory-map a packed copy.

    Raises:
        CheckpointError: The file is damaged; remove it and it will be packed again.
    """
    path = directory / WEIGHTS_FILE
    try:
        with safe_open(path, framework="pt") as file:
            manifest = json.loads(file.metadata()["manifest"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}", help_message=f"Remove {directory} and run again to repack."
        ) from error
    weights = {
        name: PackedWeight(
            row["scheme"],
            row["rows"],
            row["columns"],
            {part: tensors[f"{name}:{part}"] for part in row["parts"]},
        )
        for name, row in manifest["weights"].items()
    }
    vectors = {name: tensor for name, tensor in tensors.items() if ":" not in name}
    return PackedModel(_config_from_json(manifest["config"]), weights, vectors)


def _stacks(config: ModelConfig) -> Iterator[tuple[str, ...]]:
    """Matrices that share their input and may be stacked into one product."""
    yield ("model.embed_tokens",)
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        yield tuple(f"{prefix}.self_attn.{part}_proj" for part in "qkv")
        yield (f"{prefix}.self_attn.o_proj",)
        yield tuple(f"{prefix}.mlp.{part}_proj" for part in ("gate", "up"))
        yield (f"{prefix}.mlp.down_proj",)
    if not config.tie_word_embeddings:
        yield ("lm_head",)


def _check_names(checkpoint: Checkpoint, stacks: list[tuple[str, ...]]) -> None:
    layers = range(checkpoint.config.num_hidden_layers)
    needed = {f"{name}.weight" for stack in stacks for name in stack} | {"model.norm.weight"}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        needed |= {f"model.layers.{layer}.{norm}.weight" for layer in layers}
    missing = sorted(needed - checkpoint.names())
    if missing:
        raise CheckpointError(
            f"the checkpoint lacks {len(missing)} tensors: {', '.join(missing)}",
            help_message="Copy the whole checkpoint; for a sharded one, every shard.",
        )


def _pack_stack(
    checkpoint: Checkpoint, kernels: Kernels, quantization: Quantization, stack: tuple[str, ...]
) -> Iterator[tuple[str, PackedWeight]]:
    """Pack one stack; neighbours in the same storage form become one matrix named "a+b"."""
    pending: list[tuple[str, QuantizedTensor | Tensor]] = []
    for name in stack:
        matrix = _quantized(checkpoint.matrix(f"{name}.weight"), quantization)
        if pending and not _stackable(pending[-1][1], matrix):
            yield _concatenated(pending, kernels)
            pending = []
        pending.append((name, matrix))
    yield _concatenated(pending, kernels)


def _quantized(matrix: QuantizedTensor | Tensor, quantization: Quantization) -> QuantizedTensor | Tensor:
    if isinstance(matrix, QuantizedTensor) or quantization == "none" or matrix.shape[1] % GROUP_SIZE:
        return matrix
    return quantize_rows(matrix, "int4" if quantization == "int4" else "int8")


def _stackable(a: QuantizedTensor | Tensor, b: QuantizedTensor | Tensor) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor)
    return a.scheme == b.scheme


def _concatenated(
    group: list[tuple[str, QuantizedTensor | Tensor]], kernels: Kernels
) -> tuple[str, PackedWeight]:
    name = "+".join(name for name, _ in group)
    matrices = [matrix for _, matrix in group]
    dense = [matrix for matrix in matrices if isinstance(matrix, Tensor)]
    if dense:
        return name, kernels.pack(torch.cat([matrix.float() for matrix in dense]))
    quantized = [matrix for matrix in matrices if isinstance(matrix, QuantizedTensor)]
    merged = QuantizedTensor(
        torch.cat([matrix.q for matrix in quantized]),
        torch.cat([matrix.scale for matrix in quantized]),
        None if all(m.minimum is None for m in quantized) else torch.cat([m.offset for m in quantized]),
    )
    return name, kernels.pack(merged)


class _Writer:
    """Streams tensors into the safetensors format; the header is written last, into reserved room."""

    def __init__(self, file: BinaryIO, reserve: int) -> None:
        self._file = file
        self._header: dict[str, Any] = {}
        self._weights: dict[str, Any] = {}
        self._header_bytes = reserve + (-reserve - 8) % ALIGNMENT
        self._position = 0
        file.seek(8 + self._header_bytes)

    def add(self, name: str, tensor: Tensor) -> None:
        data = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
        self._file.write(data)
        self._header[name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [self._position, self._position + len(data)],
        }
        self._position += len(data)

    def add_weight(self, name: str, packed: PackedWeight) -> None:
        for part, tensor in packed.tensors.items():
            self.add(f"{name}:{part}", tensor)
        self._weights[name] = {
            "scheme": packed.scheme,
            "rows": packed.rows,
            "columns": packed.columns,
            "parts": list(packed.tensors),
        }

    def finish(self, config: ModelConfig) -> None:
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


def _config_from_json(values: dict[str, Any]) -> ModelConfig:
    scaling = values.pop("rope_scaling")
    if scaling is not None:
        scaling = RopeScaling(**{**scaling, "factors": tuple(scaling["factors"])})
    values["eos_token_ids"] = tuple(values["eos_token_ids"])
    return ModelConfig(**values, rope_scaling=scaling)
