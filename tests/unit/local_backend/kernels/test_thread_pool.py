"""The kernels' thread pool keeps its promises under many tiny jobs and several callers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local_backend.kernels.native_library import LIBRARY_PATH

SOURCES = LIBRARY_PATH.parent


def test_every_piece_is_done_once_by_one_thread_at_a_time(tmp_path: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    check = tmp_path / "thread_pool_check"
    files = (Path(__file__).with_name("thread_pool_check.cpp"), SOURCES / "thread_pool.cpp")
    command = [compiler, "-std=c++20", "-O0", "-pthread", "-I", SOURCES, *files, "-o", check]
    subprocess.run(command, check=True, timeout=60)
    result = subprocess.run([check], check=False, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.returncode) == ("", 0)
