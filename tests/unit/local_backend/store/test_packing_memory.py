"""Packing a real model takes the memory of a few chunks, not of its largest matrix in float32."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import resource, sys
from pathlib import Path
from local_backend.kernels.dispatch import select_kernels
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.packed import pack_checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pack_checkpoint(open_checkpoint(Path(sys.argv[1])), select_kernels(), "auto", Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_peak_while_packing_starter_small(starter_small_gguf: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(starter_small_gguf), str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "GOMP_SPINCOUNT": "2000"}, capture_output=True, text=True, check=True
    )
    # The embedding alone is 545 MB in float32, and its packed form, 155 MB, is joined from chunks.
    assert int(done.stdout) * 1024 < 700e6
