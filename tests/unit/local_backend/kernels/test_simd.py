"""The lanes that native kernels are written against do the same with every instruction set.

simd_check.cpp is compiled here, once per set, because the library exports kernels and not their parts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local_backend.kernels.native_library import LIBRARY_PATH, load_native

AVX2 = ("-mavx2", "-mfma", "-mf16c")
AVX512 = tuple(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "vnni"))
FLAGS = {  # as in cpu/CMakeLists.txt
    "avx512": (*AVX2, *AVX512),
    "avx_vnni": (*AVX2, "-mavxvnni"),
    "avx2": AVX2,
    "i8mm": ("-march=armv8.2-a+dotprod+i8mm",),
    "dotprod": ("-march=armv8.2-a+dotprod",),
    "portable": (),
}


@pytest.mark.parametrize("isa", FLAGS)
def test_lanes_do_what_plain_code_does(isa: str, tmp_path: Path) -> None:
    library = load_native()
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if library is None or isa not in library.isas or compiler is None:
        pytest.skip(f"needs a C++ compiler, the native library and a processor with {isa}")
    check = tmp_path / "simd_check"
    sources = ("-I", str(LIBRARY_PATH.parent), str(Path(__file__).with_name("simd_check.cpp")))
    command = [compiler, "-std=c++20", "-O0", "-w", f"-DISA={isa}", *FLAGS[isa], *sources, "-o", str(check)]
    subprocess.run(command, check=True, timeout=60)
    result = subprocess.run([check], check=False, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.returncode) == ("", 0)
