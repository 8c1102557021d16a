"""Large pages for mapped weights, where the system gives them: gigabytes then need fewer look-ups."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable

from torch import Tensor

__all__ = ["advise_huge_pages"]


def advise_huge_pages(tensors: Iterable[Tensor]) -> None:
    """Ask the system to back these tensors with large pages; it may not, and nothing else changes.

    Linux only: file systems with large folios (ext4 since 6.16, XFS, tmpfs) then read a mapped file by 2 MiB.
    """
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    for tensor in tensors:
        start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if start < end:
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_HUGEPAGE)
