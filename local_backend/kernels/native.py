"""The native kernel set: C++ for this processor's instruction set (cpu/), called through ctypes.

Matrices are quantised and laid out by native_layout.py; what cannot be (columns that are no whole groups of
32, unquantised weights) is multiplied by torch. Activations are float32 between operations and int8 within
products. Whole layers run in one call each (models/native_blocks.py); the operations here serve everything
around them, and layers of a form that has no such call.
"""

from __future__ import annotations

import ctypes
import weakref

import torch
from torch import Tensor
from torch.nn.functional import silu

from local_backend.kernels.attention import grouped_query_attention
from local_backend.kernels.base import PackedWeight, QuantizedTensor, concat_tensors
from local_backend.kernels.native_layout import pack_native
from local_backend.kernels.native_library import NativeLibrary
from local_backend.kernels.native_structs import Matrix
from local_backend.kernels.reference import CPU, ReferenceKernels

__all__ = ["NativeKernels"]


class NativeKernels:
    """Kernels of one instruction set and the threads that run them.

    Args:
        library: The loaded library.
        num_threads: Threads, the caller's included.
        isa: Instruction set, one of library.isas; None is the best.
    """

    device: torch.device = CPU
    dtype: torch.dtype = torch.bfloat16
    layout: str = "native16"

    def __init__(self, library: NativeLibrary, num_threads: int, isa: str | None = None) -> None:
        self.isa = library.isas[0] if isa is None else isa
        self.num_threads = num_threads
        self.functions = library.functions
        self.fallback = ReferenceKernels()
        self.handle: int = self.functions.deepseek_create(self.isa.encode(), num_threads)
        weakref.finalize(self, self.functions.deepseek_destroy, self.handle)

    def pack(self, weight: QuantizedTensor | Tensor, total_rows: int | None = None) -> PackedWeight:
        """Lay out a quantised matrix; a float matrix stays float32."""
        if isinstance(weight, Tensor):
            return self.fallback.pack(weight, total_rows)
        return pack_native(weight)

    def concat(self, chunks: list[PackedWeight]) -> PackedWeight:
        """Every part begins with the blocks of rows."""
        return concat_tensors(chunks, {})

    def linear(self, x: Tensor, weight: PackedWeight) -> Tensor:
        """(num_tokens, columns) of any float type -> (num_tokens, rows) float32."""
        if weight.scheme == "dense":
            return self.fallback.linear(x.float(), weight)
        rows = x.float().contiguous()
        out = torch.empty(len(rows), weight.rows)
        self.functions.deepseek_linear(
            self.handle, ctypes.byref(Matrix.of(weight)), rows.data_ptr(), len(rows), out.data_ptr()
        )
        return out

    def embedding(self, token_ids: Tensor, weight: PackedWeight) -> Tensor:
        """(num_tokens,) int64 -> float32 rows (num_tokens, columns)."""
        if weight.scheme == "dense":
            return self.fallback.embedding(token_ids, weight)
        rows = token_ids.contiguous()
        out = torch.empty(len(rows), weight.columns)
        self.functions.deepseek_expand_rows(
            self.handle, ctypes.byref(Matrix.of(weight)), rows.data_ptr(), len(rows), out.data_ptr()
        )
        return out

    def dequantize(self, weight: PackedWeight) -> Tensor:
        """Return the whole matrix as float32 (rows, columns)."""
        return self.embedding(torch.arange(weight.rows), weight)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Root-mean-square norm in float32."""
        return self.fallback.rms_norm(x, weight, eps)

    def silu_and_mul(self, gate: Tensor, up: Tensor) -> Tensor:
        """SwiGLU's elementwise part, one temporary."""
        return silu(gate).mul_(up)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Causal grouped-query attention in the cache's type."""
        return grouped_query_attention(query.to(key.dtype), key, value, scale)
