"""Choose a kernel set for this machine."""

from __future__ import annotations

import torch

from local_backend.config import DeviceChoice, KernelChoice
from local_backend.errors import ConfigError
from local_backend.kernels.base import Kernels
from local_backend.kernels.int4pack import Gemm, Int4PackKernels, pack_nibbles
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_library import load_native, open_native
from local_backend.kernels.reference import CPU, ReferenceKernels

__all__ = ["select_device", "select_kernels"]

BLOCK_ROWS = {"AVX512": 64, "AVX2": 32}


def select_device(choice: DeviceChoice = "auto") -> torch.device:
    """Return the device to run on.

    Raises:
        ConfigError: "cuda" without a usable GPU.
    """
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise ConfigError(
            "device='cuda', but torch sees no CUDA device",
            help_message="Install a CUDA build of torch and check the driver, or use device='cpu'.",
        )
    return torch.device("cuda" if available and choice != "cpu" else "cpu")


def select_kernels(
    choice: KernelChoice = "auto", device: torch.device = CPU, num_threads: int | None = None
) -> Kernels:
    """Return the fastest set that gives right answers here.

    Args:
        choice: "auto" takes native kernels where they are built, then torch's, then the reference.
        device: On a GPU it is the reference set in bfloat16, whatever is asked for but "reference".
        num_threads: Threads of the native kernels; None takes as many as torch does.

    Raises:
        NativeLibraryError: "native", and the library cannot be used.
    """
    if choice == "reference":
        return ReferenceKernels(device)
    if device.type != "cpu":
        return ReferenceKernels(device, torch.bfloat16)
    library = open_native() if choice == "native" else load_native() if choice == "auto" else None
    if library is not None:
        return NativeKernels(library, num_threads or torch.get_num_threads())
    return _torch_kernels()


def _torch_kernels() -> Kernels:
    """Torch's packed int4 operator, or the reference set.

    The operator's layout is torch's private business, so it is not trusted: a small matrix is packed both
    ways, and any difference (another CPU, another torch) means the reference set.
    """
    block_rows = BLOCK_ROWS.get(torch.backends.cpu.get_cpu_capability())
    if block_rows is None or not _layout_matches(block_rows):
        return ReferenceKernels()
    return Int4PackKernels(block_rows, _fastest_gemm(), ReferenceKernels())


def _layout_matches(block_rows: int) -> bool:
    columns = 64
    q = (torch.arange(2 * block_rows * columns) * 7 % 16).view(2 * block_rows, columns)
    try:
        theirs = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.to(torch.int32), 1)
    except (AttributeError, RuntimeError):
        return False
    return bool(torch.equal(theirs.flatten(), pack_nibbles(q.to(torch.uint8), block_rows).flatten()))


def _fastest_gemm() -> Gemm:
    """Arithmetic that this CPU multiplies fastest; float32 where nothing better is known.

    Measured on two Sapphire Rapids cores without AMX, in GFLOP/s (benchmarks/kernels.py): float32 300,
    bfloat16 165, int8 with both activation terms 650. Not measured on other CPUs with VNNI.
    """
    return "int8" if torch.cpu._is_vnni_supported() else "float32"
