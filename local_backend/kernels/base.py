"""What a kernel set is: how it lays weights out, and one function per operation.

Model files call a `Kernels` object and never a kernel by name, so a faster set replaces a slower one
without touching them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = [
    "CHUNK_ROWS",
    "GROUP_SIZE",
    "Kernels",
    "PackedWeight",
    "QuantizedTensor",
    "Scheme",
    "StoredForm",
    "concat_tensors",
]

GROUP_SIZE = 32
CHUNK_ROWS = 64  # chunks of a matrix start at multiples of this; every layout's row blocks divide it
Scheme = Literal["int4", "int8", "dense"]


@dataclass(frozen=True, slots=True)
class QuantizedTensor:
    """A weight matrix in groups of 32 along its columns: w = scale * q + minimum.

    Attributes:
        q: (rows, columns) uint8 in [0, 15] for int4, int8 for int8.
        scale: (rows, columns / 32) float32.
        minimum: (rows, columns / 32) float32; None means -8 * scale for int4 and 0 for int8.
    """

    q: Tensor
    scale: Tensor
    minimum: Tensor | None = None

    @property
    def scheme(self) -> Scheme:
        """int4 or int8, by the type of q."""
        return "int4" if self.q.dtype == torch.uint8 else "int8"

    @property
    def offset(self) -> Tensor:
        """What is added to scale * q, (rows, columns / 32) float32."""
        if self.minimum is not None:
            return self.minimum
        return self.scale * (-8.0 if self.scheme == "int4" else 0.0)

    def dequantize(self) -> Tensor:
        """Return the (rows, columns) float32 matrix."""
        rows, columns = self.q.shape
        grouped = self.q.view(rows, columns // GROUP_SIZE, GROUP_SIZE).float()
        return (grouped * self.scale[..., None] + self.offset[..., None]).view(rows, columns)


class StoredForm(NamedTuple):
    """What matrices must share to be packed as one."""

    scheme: Scheme
    has_minimum: bool

    @classmethod
    def of(cls, matrix: QuantizedTensor) -> StoredForm:
        """Return a matrix's form."""
        return cls(matrix.scheme, matrix.minimum is not None)


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """A weight matrix in one kernel set's own layout.

    Attributes:
        scheme: How the numbers are stored.
        rows, columns: Logical shape (out_features, in_features).
        tensors: Named parts; their names and shapes are the layout's business.
    """

    scheme: Scheme
    rows: int
    columns: int
    tensors: dict[str, Tensor]

    def to(self, device: torch.device) -> PackedWeight:
        """Return the matrix on a device."""
        tensors = {part: tensor.to(device) for part, tensor in self.tensors.items()}
        return PackedWeight(self.scheme, self.rows, self.columns, tensors)


def concat_tensors(chunks: list[PackedWeight], row_dims: dict[str, int]) -> PackedWeight:
    """Join packed chunks part by part.

    Args:
        chunks: Of one matrix, in order, all with the same parts.
        row_dims: For each part, the dimension that runs along the matrix's rows; 0 if not named.
    """
    first = chunks[0]
    if len(chunks) == 1:
        return first
    tensors = {
        part: torch.cat([chunk.tensors[part] for chunk in chunks], dim=row_dims.get(part, 0))
        for part in first.tensors
    }
    return PackedWeight(first.scheme, sum(chunk.rows for chunk in chunks), first.columns, tensors)


class Kernels(Protocol):
    """A kernel set. All functions are pure but for `out` arguments; tensors are on its device.

    Packing happens on the CPU, whatever the device.
    """

    @property
    def device(self) -> torch.device:
        """Where weights, activations and the cache lie."""

    @property
    def layout(self) -> str:
        """Names the weight layout; part of the packed cache's key."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of activations between operations, and of cached keys and values."""

    def pack(self, weight: QuantizedTensor | Tensor, total_rows: int | None = None) -> PackedWeight:
        """Lay out a quantised matrix, or a float matrix that must stay dense.

        Args:
            weight: The matrix, or a chunk of its rows that starts at a multiple of CHUNK_ROWS.
            total_rows: Rows of the whole matrix when weight is a chunk; the layout may depend on it.
        """

    def concat(self, chunks: list[PackedWeight]) -> PackedWeight:
        """Join the packed chunks of one matrix, top to bottom."""

    def linear(self, x: Tensor, weight: PackedWeight) -> Tensor:
        """(num_tokens, columns) in dtype -> (num_tokens, rows) in dtype."""

    def embedding(self, token_ids: Tensor, weight: PackedWeight) -> Tensor:
        """(num_tokens,) int64 -> float32 rows (num_tokens, columns)."""

    def dequantize(self, weight: PackedWeight) -> Tensor:
        """Return the whole matrix as float32 (rows, columns)."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Normalise float32 (num_tokens, hidden_size), weight float32; result in dtype."""

    def silu_and_mul(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up, elementwise; may reuse the memory of gate."""

    def attention(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Causal grouped-query attention of one sequence's last rows over its whole context.

        Args:
            query: (num_tokens, num_heads, head_dim) in dtype; the last num_tokens positions.
            key, value: (context_len, num_key_value_heads, head_dim) in dtype.
            scale: Factor on the scores.

        Returns:
            (num_tokens, num_heads * head_dim) in dtype.
        """
