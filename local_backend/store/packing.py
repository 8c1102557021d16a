"""Turn a checkpoint into packed matrices, some million weights at a time.

Decides which matrices are stored as one, checks that nothing is missing or misshapen, and quantises what
the source has left unquantised. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from local_backend.config import ModelConfig, Quantization
from local_backend.errors import CheckpointError
from local_backend.kernels.base import CHUNK_ROWS, GROUP_SIZE, Kernels, PackedWeight, QuantizedTensor, Scheme
from local_backend.store.checkpoint import Checkpoint
from local_backend.store.quantize import quantize_rows

__all__ = ["CHUNK_WEIGHTS", "check_tensors", "matrix_stacks", "pack_stack", "vector_names"]

CHUNK_WEIGHTS = 8 << 20  # expanded to float32 several times over while a chunk is packed

Matrix = QuantizedTensor | Tensor


def matrix_stacks(config: ModelConfig) -> list[tuple[str, ...]]:
    """Names, without ".weight", of all matrices; those that share their input may be stacked into one."""
    stacks: list[tuple[str, ...]] = [("model.embed_tokens",)]
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        stacks += [
            tuple(f"{prefix}.self_attn.{part}_proj" for part in "qkv"),
            (f"{prefix}.self_attn.o_proj",),
            tuple(f"{prefix}.mlp.{part}_proj" for part in ("gate", "up")),
            (f"{prefix}.mlp.down_proj",),
        ]
    return stacks if config.tie_word_embeddings else [*stacks, ("lm_head",)]


def vector_names(checkpoint: Checkpoint) -> list[str]:
    """Names of the norm weights and biases that the model uses."""
    return sorted(
        checkpoint.names() & _expected_shapes(checkpoint.config).keys() - _required_matrices(checkpoint)
    )


def check_tensors(checkpoint: Checkpoint) -> None:
    """Check that every tensor is there and has the shape that the config gives it.

    Raises:
        CheckpointError: Some are missing or misshapen; all of them are listed.
    """
    expected, present = _expected_shapes(checkpoint.config), checkpoint.names()
    missing = sorted(name for name in expected if name not in present and not name.endswith(".bias"))
    if missing:
        raise CheckpointError(
            f"the checkpoint lacks {len(missing)} tensors: {', '.join(missing)}",
            help_message="Copy the whole checkpoint; for a sharded one, every shard.",
        )
    wrong = [
        f"{name} is {list(checkpoint.shape(name))} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in present and checkpoint.shape(name) != shape
    ]
    if wrong:
        raise CheckpointError(
            f"{len(wrong)} tensors do not have the shape that the config says: {'; '.join(wrong)}",
            help_message="The config and the weights belong to different models; fetch both again.",
        )


def pack_stack(
    checkpoint: Checkpoint, kernels: Kernels, quantization: Quantization, stack: tuple[str, ...]
) -> Iterator[tuple[str, PackedWeight]]:
    """Pack one stack; neighbours in the same storage form become one matrix named "a+b"."""
    group: list[str] = []
    form: Scheme | None = None
    for name in stack:
        following = _form(_read(checkpoint, quantization, name, 0, 1))
        if group and following != form:
            yield "+".join(group), _pack_group(checkpoint, kernels, quantization, group)
            group = []
        group.append(name)
        form = following
    yield "+".join(group), _pack_group(checkpoint, kernels, quantization, group)


def _required_matrices(checkpoint: Checkpoint) -> set[str]:
    return {f"{name}.weight" for stack in matrix_stacks(checkpoint.config) for name in stack}


def _expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of the model; biases are optional."""
    hidden, inner = config.hidden_size, config.intermediate_size
    query = config.num_attention_heads * config.head_dim
    key = config.num_key_value_heads * config.head_dim
    matrices = {
        "self_attn.q_proj": (query, hidden),
        "self_attn.k_proj": (key, hidden),
        "self_attn.v_proj": (key, hidden),
        "self_attn.o_proj": (hidden, query),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}.{norm}.weight"] = (hidden,)
        for name, shape in matrices.items():
            shapes[f"{prefix}.{name}.weight"] = shape
            shapes[f"{prefix}.{name}.bias"] = shape[:1]
    shapes["model.norm.weight"] = (hidden,)
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    return shapes


def _form(matrix: Matrix) -> Scheme:
    return "dense" if isinstance(matrix, Tensor) else matrix.scheme


def _pack_group(
    checkpoint: Checkpoint, kernels: Kernels, quantization: Quantization, names: list[str]
) -> PackedWeight:
    shapes = [checkpoint.shape(f"{name}.weight") for name in names]
    total, columns = sum(shape[0] for shape in shapes), shapes[0][1]
    step = max(1, CHUNK_WEIGHTS // columns // CHUNK_ROWS) * CHUNK_ROWS
    chunks = []
    for start in range(0, total, step):
        pieces, offset = [], 0
        for name, (rows, _) in zip(names, shapes, strict=True):
            first, last = max(start - offset, 0), min(start + step - offset, rows)
            if first < last:
                pieces.append(_read(checkpoint, quantization, name, first, last))
            offset += rows
        chunks.append(kernels.pack(_stacked(pieces), total))
    return kernels.concat(chunks)


def _read(checkpoint: Checkpoint, quantization: Quantization, name: str, first: int, last: int) -> Matrix:
    matrix = checkpoint.matrix(f"{name}.weight", (first, last))
    if isinstance(matrix, QuantizedTensor) or quantization == "none" or matrix.shape[1] % GROUP_SIZE:
        return matrix
    return quantize_rows(matrix, "int4" if quantization == "int4" else "int8")


def _stacked(pieces: list[Matrix]) -> Matrix:
    if len(pieces) == 1:
        return pieces[0]
    dense = [piece for piece in pieces if isinstance(piece, Tensor)]
    if dense:
        return torch.cat([piece.float() for piece in dense])
    quantized = [piece for piece in pieces if isinstance(piece, QuantizedTensor)]
    return QuantizedTensor(
        torch.cat([piece.q for piece in quantized]),
        torch.cat([piece.scale for piece in quantized]),
        None if all(p.minimum is None for p in quantized) else torch.cat([p.offset for p in quantized]),
    )
