"""Writes segments until killed; the other half of test_prefix_kill.py. Loads no torch.

    prefix_writers.py DIRECTORY KILLS SEED

Two children write; KILLS times, one of them is killed at a random moment and another takes its place.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from local_backend.cache.prefix_tier import SegmentName
from local_backend.store.prefix_files import SegmentFiles
from local_backend.store.prefix_limits import trim

SEGMENT_BYTES = 100_000
NUM_NAMES = 24
LIMIT = 20 * SEGMENT_BYTES


def segment_name(number: int) -> SegmentName:
    """Name of a segment: chains of four."""
    return SegmentName(_key(number), _key(number - 1) if number % 4 else b"")


def segment_data(number: int) -> bytearray:
    """What belongs under that name, and nowhere else."""
    return bytearray(random.Random(number).randbytes(1000) * (SEGMENT_BYTES // 1000))


def _key(number: int) -> bytes:
    return bytes([number]) * 16


def _write_forever(directory: Path, seed: int) -> None:
    files, rng = SegmentFiles.open(directory, SEGMENT_BYTES), random.Random(seed)
    while True:
        number = rng.randrange(NUM_NAMES)
        files.write(segment_name(number), segment_data(number))
        if rng.random() < 0.2:
            trim(LIMIT, directory.parent)


def main() -> None:
    directory, kills, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    children = [_start(directory, rng) for _ in range(2)]
    for _ in range(kills):
        time.sleep(rng.random() * 0.02)
        _kill(children.pop(0))
        children.append(_start(directory, rng))
    for child in children:
        _kill(child)


def _start(directory: Path, rng: random.Random) -> int:
    seed = rng.randrange(1 << 30)
    child = os.fork()
    if not child:
        _write_forever(directory, seed)
    return child


def _kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main()
