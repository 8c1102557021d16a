"""How fast this machine reads memory: the ceiling of everything that decodes.

read_bandwidth.c is compiled and tried with several patterns of streams and prefetching; the best rate of the
best pattern counts, so that a share of it flatters nobody. Without a C compiler it is torch's sum, which the
table then says.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("read_bandwidth.c")
FLAGS = ("-O3", "-march=native", "-pthread")


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A measured rate.

    Attributes:
        bytes_per_second: Of the best pattern's best pass.
        how: That pattern, in words.
    """

    bytes_per_second: float
    how: str


def measure_bandwidth(threads: int, mebibytes: int = 1024) -> Bandwidth:
    """Read so many MiB again and again, in about two seconds for the default.

    Args:
        threads: That read at once.
        mebibytes: More than any cache holds, or the number is no memory's.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is not None:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "read_bandwidth"
            build = [compiler, *FLAGS, str(SOURCE), "-o", str(program)]
            if subprocess.run(build, capture_output=True, check=False).returncode == 0:
                command = [str(program), str(threads), str(mebibytes)]
                return _best(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return _sum_of_ones(threads, mebibytes)


def _best(output: str) -> Bandwidth:
    patterns = [line.split() for line in output.splitlines()]
    streams, ahead, _, best = max(patterns, key=lambda pattern: float(pattern[3]))
    prefetching = f"prefetching {ahead} bytes ahead" if int(ahead) else "no prefetching"
    return Bandwidth(float(best) * 1e9, f"streams per thread: {streams}, {prefetching}")


def _sum_of_ones(threads: int, mebibytes: int) -> Bandwidth:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    data = torch.ones(mebibytes << 18)
    rates = []
    for _ in range(10):
        start = time.perf_counter()
        data.sum()
        rates.append(data.nbytes / (time.perf_counter() - start))
    torch.set_num_threads(before)
    return Bandwidth(max(rates), "torch's sum; no C compiler was found")
