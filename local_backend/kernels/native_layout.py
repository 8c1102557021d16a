"""How the native kernels want a weight matrix: blocks of 16 rows by groups of 32 columns (cpu/matrix.h).

A group of a block is one run of bytes, codes first, then the 16 rows' scales and, where the source has them,
minima, in float16. Scales are stored in units of their row's largest, a power of two, so that float16 holds
whatever float32 scales a checkpoint has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from local_backend.kernels.base import GROUP_SIZE, PackedWeight, QuantizedTensor, Scheme

__all__ = ["BLOCK_ROWS", "pack_native"]

BLOCK_ROWS = 16


def pack_native(weight: QuantizedTensor) -> PackedWeight:
    """Lay out a quantised matrix (rows, columns).

    Returns:
        Parts `blocks`, uint8 (ceil(rows / 16), columns / 32, group bytes), and `unit`, float32
        (16 * ceil(rows / 16),).
    """
    rows, columns = weight.q.shape
    missing = -rows % BLOCK_ROWS
    codes = weight.q if weight.scheme == "int4" else (weight.q.to(torch.int16) + 128).to(torch.uint8)
    parts = [weight.scale] if weight.minimum is None else [weight.scale, weight.minimum]
    unit = _unit(parts)
    # Codes of rows that fill up a block do not matter: their unit is 0.
    halves = [_by_block(_padded(part / unit[:, None], missing)) for part in parts]
    arranged = _arranged(_padded(codes, missing), weight.scheme)
    tensors = {
        "blocks": torch.cat((arranged, *(half.view(torch.uint8) for half in halves)), dim=-1),
        "unit": _padded(unit, missing),
    }
    return PackedWeight(weight.scheme, rows, columns, tensors)


def _unit(parts: list[Tensor]) -> Tensor:
    """Return (rows,) powers of two at most twice as large as any number of the row; 1 for rows of zeros."""
    extreme = torch.stack([part.abs().amax(dim=1) for part in parts]).amax(dim=0)
    _, exponent = torch.frexp(extreme)
    return torch.ldexp(torch.ones_like(extreme), exponent.clamp(-120, 120))


def _padded(matrix: Tensor, missing: int) -> Tensor:
    if not missing:
        return matrix
    return torch.cat((matrix, matrix.new_zeros(missing, *matrix.shape[1:])))


def _by_block(groups: Tensor) -> Tensor:
    """(rows, groups) -> float16 (blocks, groups, 16)."""
    return groups.view(-1, BLOCK_ROWS, groups.shape[1]).transpose(1, 2).to(torch.float16).contiguous()


def _arranged(codes: Tensor, scheme: Scheme) -> Tensor:
    """Codes (rows, columns) as they are stored: uint8 (blocks, groups, bytes)."""
    blocks, groups = codes.shape[0] // BLOCK_ROWS, codes.shape[1] // GROUP_SIZE
    if scheme == "int8":  # (block, row, group, vector, lane)
        return codes.view(blocks, BLOCK_ROWS, groups, 8, 4).permute(0, 2, 3, 1, 4).flatten(2)
    pairs = codes.view(blocks, BLOCK_ROWS, groups, 4, 2, 4).permute(0, 2, 3, 1, 5, 4)
    return (pairs[..., 0] | pairs[..., 1] << 4).flatten(2)
