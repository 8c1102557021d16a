"""Writers of segments are killed at random moments, many times: readers get whole segments or none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import prefix_writers
import pytest
from prefix_writers import LIMIT, NUM_NAMES, SEGMENT_BYTES, segment_data, segment_name

from local_backend.store.prefix_files import SegmentFiles
from local_backend.store.prefix_limits import trim

KILLS = 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children")
def test_killed_writers_leave_whole_segments(tmp_path: Path) -> None:
    files = SegmentFiles.open(tmp_path / "prefixes" / "model", SEGMENT_BYTES)
    command = [sys.executable, prefix_writers.__file__, str(files.directory), str(KILLS), "7"]
    expected = [segment_data(number) for number in range(NUM_NAMES)]
    buffer, found, read = bytearray(SEGMENT_BYTES), set(), 0
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ) as writers:
        while writers.poll() is None:
            number = read % NUM_NAMES
            if files.read_into(segment_name(number), memoryview(buffer)):
                assert buffer == expected[number]
                found.add(number)
            read += 1
    assert writers.returncode == 0
    assert len(found) >= NUM_NAMES // 2
    present = [number for number in range(NUM_NAMES) if files.holds(segment_name(number))]
    for number in present:
        assert files.read_into(segment_name(number), memoryview(buffer))
        assert buffer == expected[number]
    assert present
    for path in files.directory.glob(".*.tmp"):
        os.utime(path, (0, 0))
    assert trim(LIMIT, files.directory.parent) <= LIMIT
    assert [*files.directory.glob(".*.tmp")] == []
