"""The writer's thread: bounded, never in the way, and quiet when the disk fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from local_backend.cache.prefix_tier import SegmentName
from local_backend.store.lock import file_lock
from local_backend.store.prefix_files import SegmentFiles
from local_backend.store.prefix_writer import PrefixWriter

NAMES = [SegmentName(bytes([number]) * 16) for number in range(1, 40)]
SIZE = 1000


@pytest.fixture
def files(tmp_path: Path) -> SegmentFiles:
    return SegmentFiles.open(tmp_path / "prefixes" / "model", SIZE)


def writer_of(files: SegmentFiles, *, limit: int = 1 << 20, waiting: int = 2) -> PrefixWriter:
    return PrefixWriter(files, limit=limit, queue_bytes=waiting * SIZE)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_closing_writes_what_is_queued(files: SegmentFiles) -> None:
    writer = writer_of(files, waiting=10)
    for name in NAMES[:10]:
        writer.put(name, bytearray(SIZE))
    writer.close()
    writer.close()
    assert all(files.holds(name) for name in NAMES[:10])
    writer.put(NAMES[11], bytearray(SIZE))
    assert not files.holds(NAMES[11])


def test_nothing_starts_until_there_is_something_to_write(files: SegmentFiles) -> None:
    before = threading.active_count()
    writer_of(files).close()
    assert threading.active_count() == before


def test_a_segment_is_queued_until_it_is_on_disk(files: SegmentFiles) -> None:
    writer = writer_of(files)
    writer.put(NAMES[0], bytearray(SIZE))
    while writer.is_waiting(NAMES[0]):
        pass
    assert files.holds(NAMES[0])
    writer.close()


def test_the_queue_is_bounded(files: SegmentFiles) -> None:
    writer = writer_of(files, waiting=1)

    assert not writer.full
    with writer._condition:
        writer._waiting[NAMES[0]] = bytearray(SIZE)
        assert writer.full
        writer._waiting.clear()
    writer.close()


def test_the_limit_is_kept(files: SegmentFiles) -> None:
    writer = writer_of(files, limit=5 * files.file_bytes, waiting=100)
    for name in NAMES:
        writer.put(name, bytearray(SIZE))
    writer.close()
    assert 3 <= len([path for path in files.directory.iterdir() if path.is_file()]) <= 5


def test_a_limit_below_one_segment_keeps_nothing(files: SegmentFiles) -> None:
    assert writer_of(files, limit=SIZE).closed


def test_a_disk_that_fails_is_said_once_and_left_alone(
    files: SegmentFiles, caplog: pytest.LogCaptureFixture
) -> None:
    files.directory.rename(files.directory.with_name("away"))
    writer = writer_of(files, waiting=10)
    with caplog.at_level(logging.WARNING):
        for name in NAMES[:3]:
            writer.put(name, bytearray(SIZE))
        until(lambda: writer.closed)
        writer.close()
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith("prefixes are no longer written")


def test_another_process_that_trims_stops_nobody(files: SegmentFiles) -> None:
    with file_lock(files.directory.parent / ".lock"):
        writer = writer_of(files)
        writer.put(NAMES[0], bytearray(SIZE))
        writer.close()
    assert files.holds(NAMES[0])
