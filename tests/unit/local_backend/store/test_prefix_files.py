"""Segments on disk: what is written comes back, and nothing else ever does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_backend.cache.prefix_tier import SegmentName
from local_backend.errors import PrefixCacheError
from local_backend.store.prefix_files import SegmentFiles

FIRST = SegmentName(b"a" * 16)
SECOND = SegmentName(b"b" * 16, FIRST.key)
DATA = bytearray(range(200))


@pytest.fixture
def files(tmp_path: Path) -> SegmentFiles:
    return SegmentFiles.open(tmp_path / "prefixes" / "model", len(DATA))


def read(files: SegmentFiles, name: SegmentName) -> bytes | None:
    buffer = bytearray(files.segment_bytes)
    return bytes(buffer) if files.read_into(name, memoryview(buffer)) else None


def only_file(files: SegmentFiles) -> Path:
    (path,) = files.directory.iterdir()
    return path


def test_what_was_written_comes_back(files: SegmentFiles) -> None:
    files.write(SECOND, DATA)
    assert files.holds(SECOND)
    assert not files.holds(FIRST)
    assert read(files, SECOND) == DATA
    assert read(files, FIRST) is None


def test_a_prefix_is_named_with_what_comes_before_it(files: SegmentFiles) -> None:
    files.write(SECOND, DATA)
    only_file(files).rename(files.directory / f"{SECOND.key.hex()}-{bytes(16).hex()}")
    assert read(files, SegmentName(SECOND.key)) is None


def test_only_this_user_can_read(files: SegmentFiles) -> None:
    files.write(FIRST, DATA)
    modes = [
        path.stat().st_mode & 0o777 for path in (files.directory.parent, files.directory, only_file(files))
    ]
    assert modes == [0o700, 0o700, 0o600]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_for_others_too_is_not_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "prefixes"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(PrefixCacheError, match="not this user's alone") as caught:
        SegmentFiles.open(folder / "model", 8)
    assert "prefix_cache_gb" in caught.value.help_message


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(where=st.integers(0, 255), flip=st.integers(1, 255))
def test_any_flipped_bit_is_a_miss(files: SegmentFiles, where: int, flip: int) -> None:
    files.write(FIRST, DATA)
    damaged = bytearray(only_file(files).read_bytes())
    damaged[where % len(damaged)] ^= flip
    only_file(files).write_bytes(damaged)
    assert read(files, FIRST) is None
    assert not files.holds(FIRST)


@pytest.mark.parametrize("cut", [lambda whole: whole[:-1], lambda whole: b"", lambda whole: whole + b"x"])
def test_any_other_length_is_a_miss(files: SegmentFiles, cut: Callable[[bytes], bytes]) -> None:
    files.write(FIRST, DATA)
    only_file(files).write_bytes(cut(only_file(files).read_bytes()))
    assert not files.holds(FIRST)
    assert not files.touch(FIRST)
    assert read(files, FIRST) is None
    assert [*files.directory.iterdir()] == []


def test_a_write_that_fails_leaves_nothing(files: SegmentFiles) -> None:
    (files.directory / f"{FIRST.key.hex()}-{bytes(16).hex()}").mkdir()
    with pytest.raises(OSError, match="irectory"):
        files.write(FIRST, DATA)
    assert [path.name for path in files.directory.iterdir() if path.is_file()] == []


def test_reading_counts_as_use(files: SegmentFiles) -> None:
    files.write(FIRST, DATA)
    os.utime(only_file(files), (0, 0))
    read(files, FIRST)
    assert only_file(files).stat().st_mtime > 0


def test_a_segment_of_another_size_is_a_miss(files: SegmentFiles) -> None:
    files.write(FIRST, DATA)
    assert read(SegmentFiles(files.directory, len(DATA) - 1), FIRST) is None
