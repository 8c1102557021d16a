"""Choose a kernel set for this machine."""

from __future__ import annotations

import torch

from local_backend.config import KernelChoice
from local_backend.kernels.base import Kernels
from local_backend.kernels.int4pack import Int4PackKernels, pack_nibbles
from local_backend.kernels.reference import ReferenceKernels

__all__ = ["select_kernels"]

BLOCK_ROWS = {"AVX512": 64, "AVX2": 32}


def select_kernels(choice: KernelChoice = "auto") -> Kernels:
    """Return the fastest set that gives right answers here; "reference" forces float32 torch.

    The int4 layout is torch's private business, so it is not trusted: a small matrix is packed both ways,
    and any difference (another CPU, another torch) means the reference set.
    """
    block_rows = BLOCK_ROWS.get(torch.backends.cpu.get_cpu_capability())
    if choice == "reference" or block_rows is None or not _layout_matches(block_rows):
        return ReferenceKernels()
    return Int4PackKernels(block_rows, _gemm_dtype(), ReferenceKernels())


def _layout_matches(block_rows: int) -> bool:
    columns = 64
    q = (torch.arange(2 * block_rows * columns) * 7 % 16).view(2 * block_rows, columns)
    try:
        theirs = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.to(torch.int32), 1)
    except (AttributeError, RuntimeError):
        return False
    return bool(torch.equal(theirs.flatten(), pack_nibbles(q.to(torch.uint8), block_rows).flatten()))


def _gemm_dtype() -> torch.dtype:
    """bfloat16 where the CPU multiplies it faster than float32.

    Matrix units (AMX) and Zen 4 and later do; Intel's AVX512_BF16 alone does not: 165 against 283 GFLOP/s
    on two Sapphire Rapids cores without AMX, 650 against 190 on two Zen 5 cores (benchmarks/kernels.py).
    """
    if torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() and _is_amd() else torch.float32


def _is_amd() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return any("AuthenticAMD" in line for line in file)
    except OSError:
        return False
