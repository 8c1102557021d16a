"""How many bytes our packer makes of a model, asked of the kernel set in use before anything is packed.

The size of a matrix is measured on a small piece of it: every layout's bytes grow with rows times columns
and with rows. The rules of store/packing.py, who is stored with whom and in which scheme, are followed here
on shapes alone; tests hold the two together to the byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch

from local_backend.architecture import ModelConfig
from local_backend.kernels.base import CHUNK_ROWS, GROUP_SIZE, Kernels, QuantizedTensor, StoredForm
from local_backend.store.checkpoint import Checkpoint
from local_backend.store.packed_file import header_room, max_tensors
from local_backend.store.tensor_shapes import MatrixStack, expected_shapes, expert_name, matrix_stacks

__all__ = ["FixedQuantization", "PackedSize", "packed_size", "stored_forms"]

FixedQuantization = Literal["none", "int8", "int4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSize:
    """What a packed model takes.

    Attributes:
        weights: Numbers in matrices.
        matrix_bytes: Bytes of those, scales and padding included.
        vector_bytes: Bytes of norms, biases and gates.
        file_bytes: The whole packed file.
    """

    weights: int
    matrix_bytes: int
    vector_bytes: int
    file_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Bits that one number of a matrix takes on average."""
        return 8 * self.matrix_bytes / self.weights


def stored_forms(checkpoint: Checkpoint) -> dict[str, StoredForm]:
    """Form of the matrices that a source has quantised already, by name with `*` for an expert's number.

    Reads one row of each matrix; of experts, which must be stored alike, of the first. Absent ones are left
    out, and so are those in floating point.
    """
    present = checkpoint.names()
    forms = {}
    for name in (name for stack in matrix_stacks(checkpoint.config) for name in stack):
        tensor = f"{expert_name(name, 0)}.weight"
        if tensor in present:
            row = checkpoint.matrix(tensor, (0, 1))
            if isinstance(row, QuantizedTensor):
                forms[name] = StoredForm.of(row)
    return forms


def packed_size(
    config: ModelConfig,
    kernels: Kernels,
    quantization: FixedQuantization,
    *,
    stored: Mapping[str, StoredForm] | None = None,
    names: Iterable[str] | None = None,
) -> PackedSize:
    """Compute what a model takes when it is packed.

    Args:
        config: Shape of the model.
        kernels: Decides the layout.
        quantization: Scheme of what the source has in floating point.
        stored: What the source has quantised already (`stored_forms`); None is nothing.
        names: Tensors of the checkpoint, which say what biases there are; None counts none.
    """
    shapes, layout = expected_shapes(config), _Layout(kernels)
    matrices = list(_matrices(config, shapes, quantization, stored or {}))
    used = {name for name in shapes if not name.endswith(".bias")} if names is None else set(names)
    vectors = {name: shape for name, shape in shapes.items() if name in used and not _is_matrix(name)}
    weights = sum(matrix.copies * matrix.rows * matrix.columns for matrix in matrices)
    matrix_bytes = sum(matrix.copies * layout.bytes_of(matrix) for matrix in matrices)
    vector_bytes = sum(4 * math.prod(shape) for shape in vectors.values())
    header = 8 + header_room(max_tensors(len(matrix_stacks(config)), len(vectors)))
    return PackedSize(
        weights=weights,
        matrix_bytes=matrix_bytes,
        vector_bytes=vector_bytes,
        file_bytes=header + matrix_bytes + vector_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Matrix:
    form: StoredForm
    rows: int
    columns: int
    copies: int


def _is_matrix(name: str) -> bool:
    """Everything two-dimensional but the gate."""
    return name.endswith(".weight") and not name.endswith(("norm.weight", ".mlp.gate.weight"))


def _matrices(
    config: ModelConfig,
    shapes: Mapping[str, tuple[int, ...]],
    quantization: FixedQuantization,
    stored: Mapping[str, StoredForm],
) -> Iterator[_Matrix]:
    """Matrices as they are packed: neighbours of a stack in the same scheme are one."""
    for stack in matrix_stacks(config):
        copies = config.moe.n_routed_experts if config.moe is not None and "*" in stack[0] else 1
        for form, rows, columns in _grouped(stack, shapes, quantization, stored):
            yield _Matrix(form, rows, columns, copies)


def _grouped(
    stack: MatrixStack,
    shapes: Mapping[str, tuple[int, ...]],
    quantization: FixedQuantization,
    stored: Mapping[str, StoredForm],
) -> Iterator[tuple[StoredForm, int, int]]:
    def form_of(name: str) -> StoredForm:
        if name in stored:
            return stored[name]
        if quantization == "none" or shape_of(name)[1] % GROUP_SIZE:
            return StoredForm("dense", has_minimum=False)
        return StoredForm(quantization, has_minimum=quantization == "int4")  # as quantize_rows does

    def shape_of(name: str) -> tuple[int, ...]:
        return shapes[f"{expert_name(name, 0)}.weight"]

    for form, group in groupby(stack, form_of):
        parts = [shape_of(name) for name in group]
        yield form, sum(rows for rows, _ in parts), parts[0][1]


class _Layout:
    """Sizes of packed matrices, from pieces of at most CHUNK_ROWS rows and one or two groups of columns."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._pieces: dict[tuple[StoredForm, int, int], tuple[int, int]] = {}

    def bytes_of(self, matrix: _Matrix) -> int:
        whole, rest = divmod(matrix.rows, CHUNK_ROWS)
        last = self._chunk(matrix, rest) if rest else 0
        return last + (whole * self._chunk(matrix, CHUNK_ROWS) if whole else 0)

    def _chunk(self, matrix: _Matrix, rows: int) -> int:
        """Bytes of some rows; whether the fast layout takes them depends on the matrix's number of rows."""
        key = matrix.form, rows, matrix.rows % CHUNK_ROWS
        if key not in self._pieces:
            self._pieces[key] = self._piece(matrix, rows, 1), self._piece(matrix, rows, 2)
        one, two = self._pieces[key]
        return matrix.columns * (two - one) // GROUP_SIZE + 2 * one - two

    def _piece(self, matrix: _Matrix, rows: int, groups: int) -> int:
        packed = self._kernels.pack(_zeros(matrix.form, rows, groups), matrix.rows)
        return sum(part.numel() * part.itemsize for part in packed.tensors.values())


def _zeros(form: StoredForm, rows: int, groups: int) -> QuantizedTensor | torch.Tensor:
    shape = (rows, groups * GROUP_SIZE)
    if form.scheme == "dense":
        return torch.zeros(shape)
    scale = torch.zeros(rows, groups)
    dtype = torch.uint8 if form.scheme == "int4" else torch.int8
    return QuantizedTensor(torch.zeros(shape, dtype=dtype), scale, scale if form.has_minimum else None)
