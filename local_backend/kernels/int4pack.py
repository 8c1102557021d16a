"""Torch's packed int4 product for few rows, expansion and a dense product for many.

`aten::_weight_int4pack_mm_for_cpu` multiplies bfloat16 rows with uint4 groups of 32 and is the fastest
operator torch has for decoding, but it is bound by arithmetic at about half a dense product's rate. So
more than MAX_INT4PACK_ROWS rows expand the weight, one cache-sized slice at a time, and use a dense product.

Layout (that operator's own, for AVX-512 B = 64, for AVX2 B = 32): rows in blocks of B; in a block, per
column B / 2 bytes, low nibbles the first half of the rows, high nibbles the second half. An int8 weight is
two int4 planes side by side along the columns: q = 16 * (high - 8) + low, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

from local_backend.kernels.attention import grouped_query_attention
from local_backend.kernels.base import GROUP_SIZE, PackedWeight, QuantizedTensor, concat_tensors
from local_backend.kernels.reference import ReferenceKernels

__all__ = ["MAX_INT4PACK_ROWS", "Int4PackKernels", "pack_nibbles"]

MAX_INT4PACK_ROWS = 24
SLICE_BYTES = 4 << 20  # an expanded slice that stays in the second-level caches


def pack_nibbles(q: Tensor, block_rows: int) -> Tensor:
    """Arrange uint8 q (rows, columns) in [0, 15] as (rows / B, columns, B / 2), two rows to a byte."""
    rows, columns = q.shape
    halves = q.view(rows // block_rows, 2, block_rows // 2, columns)
    return (halves[:, 0] | (halves[:, 1] << 4)).transpose(1, 2).contiguous()


@dataclass(frozen=True, slots=True)
class Int4PackKernels:
    """Kernel set over `_weight_int4pack_mm_for_cpu`.

    Attributes:
        block_rows: B of the layout, 64 or 32.
        gemm_dtype: Type of the dense product for many rows: whichever this CPU multiplies faster.
    """

    block_rows: int
    gemm_dtype: torch.dtype
    fallback: ReferenceKernels
    dtype: torch.dtype = torch.bfloat16

    @property
    def layout(self) -> str:
        """Layout name with the block height."""
        return f"int4pack{self.block_rows}"

    def pack(self, weight: QuantizedTensor | Tensor, total_rows: int | None = None) -> PackedWeight:
        """Pack into nibble planes; shapes the operator cannot take keep the reference layout."""
        if isinstance(weight, Tensor):
            rows, columns = weight.shape
            return PackedWeight("dense", rows, columns, {"dense": weight.to(self.gemm_dtype).contiguous()})
        rows, columns = weight.q.shape
        if (total_rows or rows) % self.block_rows:
            return self.fallback.pack(weight)
        scale, offset = weight.scale.bfloat16(), weight.offset
        if weight.scheme == "int4":
            planes = pack_nibbles(weight.q, self.block_rows)
            scale_and_zero = _scale_and_zero(scale, offset + 8 * weight.scale)
        else:
            high, low = (weight.q >> 4) + 8, weight.q & 15
            both = (pack_nibbles(plane.to(torch.uint8), self.block_rows) for plane in (high, low))
            planes = torch.cat(tuple(both), dim=1)
            # The low plane's codes are read as low - 8: its zero puts the 8 back, on the rounded scale.
            low_zero = offset + 8 * scale.float()
            scale_and_zero = torch.cat(
                (_scale_and_zero(16 * scale, torch.zeros_like(offset)), _scale_and_zero(scale, low_zero))
            )
        return PackedWeight(
            weight.scheme, rows, columns, {"planes": planes, "scale_and_zero": scale_and_zero}
        )

    def concat(self, chunks: list[PackedWeight]) -> PackedWeight:
        """Planes are blocks of rows; scales are stored group by group, rows second."""
        return concat_tensors(chunks, {"scale_and_zero": 1})

    def linear(self, x: Tensor, weight: PackedWeight) -> Tensor:
        """Multiply packed for few rows, expanded for many."""
        tensors = weight.tensors
        if weight.scheme == "dense":
            return torch.nn.functional.linear(x.to(self.gemm_dtype), tensors["dense"])
        if "planes" not in tensors:
            return self.fallback.linear(x.float(), weight)
        if x.shape[0] > MAX_INT4PACK_ROWS:
            return self._linear_expanded(x.to(self.gemm_dtype), weight)
        rows = x.to(torch.bfloat16)
        if weight.scheme == "int8":
            rows = torch.cat((rows, rows), dim=-1)
        planes = tensors["planes"].view(weight.rows, -1)
        product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            rows, planes, GROUP_SIZE, tensors["scale_and_zero"]
        )
        return product

    def embedding(self, token_ids: Tensor, weight: PackedWeight) -> Tensor:
        """Read single rows out of the blocks."""
        if weight.scheme == "dense":
            return weight.tensors["dense"][token_ids].float()
        if "planes" not in weight.tensors:
            return self.fallback.embedding(token_ids, weight)
        half = self.block_rows // 2
        in_block = token_ids % self.block_rows
        codes = weight.tensors["planes"][token_ids // self.block_rows, :, in_block % half]
        codes = torch.where((in_block < half)[:, None], codes & 15, codes >> 4)
        if weight.scheme == "int8":
            high, low = codes.chunk(2, dim=1)
            codes = ((high << 4) | low) ^ 128
        else:
            codes = codes - 8
        scale, offset = self._scale_and_offset(weight, token_ids)
        grouped = codes.view(torch.int8).view(len(token_ids), -1, GROUP_SIZE).float()
        return (grouped * scale.t()[..., None] + offset.t()[..., None]).flatten(1)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Torch's fused norm in float32."""
        return rms_norm(x, weight.shape, weight, eps)

    def silu_and_mul(self, gate: Tensor, up: Tensor) -> Tensor:
        """SwiGLU's elementwise part, one temporary."""
        return silu(gate).mul_(up)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Causal grouped-query attention in the cache's type."""
        return grouped_query_attention(query.to(key.dtype), key, value, scale)

    def _linear_expanded(self, x: Tensor, weight: PackedWeight) -> Tensor:
        out = torch.empty(x.shape[0], weight.rows, dtype=x.dtype)
        blocks = max(1, SLICE_BYTES // (weight.columns * self.block_rows * x.element_size()))
        step = blocks * self.block_rows
        buffer = torch.empty(weight.columns * step, dtype=x.dtype)
        for start in range(0, weight.rows, step):
            stop = min(start + step, weight.rows)
            expanded = self._expand(weight, start, stop, buffer)
            torch.mm(x, expanded, out=out[:, start:stop])
        return out

    def _expand(self, weight: PackedWeight, start: int, stop: int, buffer: Tensor) -> Tensor:
        """Write rows [start, stop), transposed, into buffer; returns (columns, stop - start)."""
        columns, count, half = weight.columns, stop - start, self.block_rows // 2
        planes = weight.tensors["planes"][start // self.block_rows : stop // self.block_rows]
        out = buffer[: columns * count].view(columns, count)
        by_half = out.view(columns, count // self.block_rows, 2, half).permute(1, 0, 2, 3)
        if weight.scheme == "int4":
            first, second = (planes & 15).sub_(8), (planes >> 4).sub_(8)
        else:
            high, low = planes[:, :columns] ^ 136, planes[:, columns:]  # flips both sign bits
            first, second = (high << 4) | (low & 15), (high & 240) | (low >> 4)
        by_half[:, :, 0].copy_(first.view(torch.int8))
        by_half[:, :, 1].copy_(second.view(torch.int8))
        scale, offset = self._scale_and_offset(weight, slice(start, stop))
        grouped = out.view(columns // GROUP_SIZE, GROUP_SIZE, count)
        torch.addcmul(offset.to(out.dtype)[:, None], grouped, scale.to(out.dtype)[:, None], out=grouped)
        return out

    def _scale_and_offset(self, weight: PackedWeight, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Float32 (columns / 32, num_rows) such that w = scale * q + offset, q signed."""
        pairs = weight.tensors["scale_and_zero"]
        if weight.scheme == "int4":
            scale, zero = pairs[:, rows].float().unbind(-1)
            return scale.contiguous(), zero.contiguous()
        scale, zero = pairs[pairs.shape[0] // 2 :, rows].float().unbind(-1)
        return scale.contiguous(), zero - 8 * scale


def _scale_and_zero(scale: Tensor, zero: Tensor) -> Tensor:
    """Interleave (rows, groups) scale and zero as the operator wants them: (groups, rows, 2) bfloat16."""
    return torch.stack((scale.bfloat16().t(), zero.bfloat16().t()), dim=-1).contiguous()
