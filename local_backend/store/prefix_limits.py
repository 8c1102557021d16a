"""How much disk cached prefixes take, over all models, and which of them go when it is too much.

Least recently used first, but never a segment before those that continue it: without its beginning the rest
of a prefix is of no use. So a segment counts as used when the last of its continuations was.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local_backend.errors import PullLockedError
from local_backend.store.lock import file_lock
from local_backend.store.paths import prefixes_dir
from local_backend.store.prefix_files import TEMPORARY_SUFFIX

__all__ = [
    "PrefixUsage",
    "StoredSegment",
    "clear_prefixes",
    "default_limit",
    "keep_order",
    "prefix_usage",
    "trim",
]

LARGEST_DEFAULT = 4 << 30
SHARE_OF_FREE_DISK = 0.1
KEPT_WHEN_TRIMMED = 0.95  # of the limit, so that not every write has to look for victims
STALE_SECONDS = 600.0  # a temporary file of this age has lost its writer
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A file of the cache.

    Attributes:
        path: Where it lies.
        size: In bytes.
        used: When it was last written or read, seconds since the epoch.
    """

    path: Path
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class PrefixUsage:
    """What the cache takes.

    Attributes:
        directory: Where it lies.
        size: Bytes over all models.
        segments: Number of files.
        models: Number of models, precisions and cache types with a prefix here.
    """

    directory: Path
    size: int
    segments: int
    models: int


def default_limit() -> int:
    """Return the bytes that prefixes may take when nothing was configured.

    That is 4 GiB or a tenth of the free disk, whichever is less. What the cache holds already counts as free,
    so that it does not shrink itself.
    """
    folder = prefixes_dir()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    room = shutil.disk_usage(existing).free + prefix_usage().size
    return min(LARGEST_DEFAULT, int(room * SHARE_OF_FREE_DISK))


def prefix_usage() -> PrefixUsage:
    """Return what cached prefixes take now."""
    stored = list(_stored(prefixes_dir()))
    models = {segment.path.parent for segment in stored}
    return PrefixUsage(prefixes_dir(), sum(segment.size for segment in stored), len(stored), len(models))


def trim(limit: int, root: Path | None = None) -> int:
    """Delete what is too much, and what dead writers left; one process at a time does it.

    Args:
        limit: Bytes that may stay.
        root: Directory of the models' directories; None is ours.

    Returns:
        Bytes that are left.

    Raises:
        OSError: The directory cannot be used.
    """
    root = prefixes_dir() if root is None else root
    with suppress(PullLockedError), file_lock(root / _LOCK, wait=False):
        _remove_stale(root)
        kept = keep_order(_stored(root))
        size = sum(segment.size for segment in kept)
        target = limit if size <= limit else int(limit * KEPT_WHEN_TRIMMED)
        while kept and size > target:
            victim = kept.pop()
            with suppress(OSError):
                victim.path.unlink()
            size -= victim.size
        return size
    return sum(segment.size for segment in _stored(root))


def keep_order(stored: Iterable[StoredSegment]) -> list[StoredSegment]:
    """Sort by worth: most recently used first, and every segment after the one that it continues."""
    by_key = {(segment.path.parent, _key(segment)): segment for segment in stored}
    ordered: dict[Path, StoredSegment] = {}
    for segment in sorted(by_key.values(), key=lambda found: found.used, reverse=True):
        branch: dict[Path, StoredSegment] = {}
        at: StoredSegment | None = segment
        while at is not None and at.path not in ordered and at.path not in branch:
            branch[at.path] = at
            at = by_key.get((at.path.parent, _parent_key(at)))
        ordered.update(reversed(branch.items()))
    return list(ordered.values())


def clear_prefixes(of: str = "") -> int:
    """Delete cached prefixes; engines that are running miss them, and write again.

    Args:
        of: Only of models whose directory starts so; their source hash does.

    Returns:
        Bytes freed.

    Raises:
        OSError: A file cannot be deleted.
    """
    freed = 0
    for segment in list(_stored(prefixes_dir())):
        if segment.path.parent.name.startswith(of):
            segment.path.unlink(missing_ok=True)
            freed += segment.size
    return freed


def _stored(root: Path) -> Iterable[StoredSegment]:
    """List the segments of all models; files that vanish meanwhile are left out."""
    for folder in _folders(root):
        for entry in os.scandir(folder):
            if not entry.name.startswith("."):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    yield StoredSegment(Path(entry.path), status.st_size, status.st_mtime_ns / 1e9)


def _folders(root: Path) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _remove_stale(root: Path) -> None:
    oldest = time.time() - STALE_SECONDS
    for folder in _folders(root):
        for path in Path(folder).glob(f".*{TEMPORARY_SUFFIX}"):
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _key(segment: StoredSegment) -> str:
    return segment.path.name.partition("-")[0]


def _parent_key(segment: StoredSegment) -> str:
    return segment.path.name.partition("-")[2]
