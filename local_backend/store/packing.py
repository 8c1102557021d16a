"""Turn a checkpoint into packed matrices, some million weights at a time.

Decides which matrices are stored as one (neighbours in the same form), quantises what the source has left
unquantised (matrices whose columns are no whole groups of 32 stay dense; norms, biases and gates are
float32), and refuses numbers that are not finite. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from local_backend.config import Quantization
from local_backend.errors import CheckpointError
from local_backend.kernels.base import (
    CHUNK_ROWS,
    GROUP_SIZE,
    Kernels,
    PackedWeight,
    QuantizedTensor,
    StoredForm,
)
from local_backend.store.checkpoint import Checkpoint
from local_backend.store.quantize import quantize_rows
from local_backend.store.tensor_checks import check_finite
from local_backend.store.tensor_shapes import (
    MatrixStack,
    expected_shapes,
    expert_name,
    matrix_stacks,
)

__all__ = ["CHUNK_WEIGHTS", "pack_expert_stack", "pack_stack", "read_vector", "vector_names"]

CHUNK_WEIGHTS = 8 << 20  # expanded to float32 several times over while a chunk is packed

Matrix = QuantizedTensor | Tensor


def vector_names(checkpoint: Checkpoint) -> list[str]:
    """Names of the norm weights, biases and gates that the model uses: all that is kept in float32."""
    return sorted(
        checkpoint.names() & expected_shapes(checkpoint.config).keys() - _required_matrices(checkpoint)
    )


def read_vector(checkpoint: Checkpoint, name: str) -> Tensor:
    """Read a norm weight, a bias or a gate.

    Raises:
        CheckpointError: It has NaN or infinity.
    """
    vector = checkpoint.vector(name)
    check_finite(checkpoint, name, vector, 0)
    return vector


def pack_expert_stack(
    checkpoint: Checkpoint, kernels: Kernels, quantization: Quantization, stack: MatrixStack, experts: int
) -> Iterator[tuple[str, int, PackedWeight]]:
    """Pack one stack of every expert, one after the other.

    Yields:
        Name with its `*`, number of the expert, and the matrix.

    Raises:
        CheckpointError: The experts are not stored alike, or a number is not finite.
    """
    first: dict[str, StoredForm] = {}
    for number in range(experts):
        names = tuple(expert_name(name, number) for name in stack)
        packed = {
            "+".join(stack[names.index(name)] for name in joined.split("+")): weight
            for joined, weight in pack_stack(checkpoint, kernels, quantization, names)
        }
        forms = {name: _form(_read(checkpoint, quantization, name, 0, 1)) for name in names}
        forms = {stack[names.index(name)]: form for name, form in forms.items()}
        first = first or forms
        if forms != first:
            raise CheckpointError(
                f"expert {number} of {stack[0]} is stored as {_described(forms)}, "
                f"expert 0 as {_described(first)}",
                help_message="Quantise all experts of a layer alike.",
            )
        for name, weight in packed.items():
            yield name, number, weight


def pack_stack(
    checkpoint: Checkpoint, kernels: Kernels, quantization: Quantization, stack: MatrixStack
) -> Iterator[tuple[str, PackedWeight]]:
    """Pack one stack; neighbours in the same storage form become one matrix named "a+b"."""
    group: list[str] = []
    form: StoredForm | None = None
    for name in stack:
        following = _form(_read(checkpoint, quantization, name, 0, 1))
        if group and following != form:
            yield "+".join(group), _pack_group(checkpoint, kernels, quantization, group)
            group = []
        group.append(name)
        form = following
    yield "+".join(group), _pack_group(checkpoint, kernels, quantization, group)


def _described(forms: dict[str, StoredForm]) -> str:
    return ", ".join(f"{form.scheme}{' with minima' * form.has_minimum}" for form in forms.values())


def _required_matrices(checkpoint: Checkpoint) -> set[str]:
    config = checkpoint.config
    experts = config.moe.n_routed_experts if config.moe else 0
    names = {f"{name}.weight" for stack in matrix_stacks(config) for name in stack}
    return {expert_name(name, n) for name in names for n in range(experts if "*" in name else 1)}


def _form(matrix: Matrix) -> StoredForm:
    return StoredForm("dense", has_minimum=False) if isinstance(matrix, Tensor) else StoredForm.of(matrix)


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
    if isinstance(matrix, Tensor) and quantization != "none" and matrix.shape[1] % GROUP_SIZE == 0:
        matrix = quantize_rows(matrix, "int4" if quantization == "int4" else "int8")
    check_finite(checkpoint, f"{name}.weight", matrix, first)
    return matrix


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
