"""Room on disk: asked for before a pull, and named when it runs out during one."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_backend.errors import DiskSpaceError, PullError
from local_backend.store.paths import CACHE_DIR_VARIABLE

__all__ = ["DISK_FULL_ERRNOS", "check_space", "named_os_errors"]

# No space left, a file-size limit, and a quota where the platform has them.
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


def check_space(folder: Path, needed: int) -> None:
    """Make sure that `needed` bytes fit into folder's file system.

    Raises:
        DiskSpaceError: They do not; the message says how many are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _disk_space_error(folder, f"needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")


@contextmanager
def named_os_errors(folder: Path) -> Iterator[None]:
    """Create folder, and turn what the operating system refuses in the block into what to do about it.

    Raises:
        DiskSpaceError: The disk (or a quota) was full.
        PullError: Any other OSError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise _disk_space_error(folder, f"{error.strerror} while writing") from error
        raise PullError(
            f"cannot pull into {folder}: {error}",
            help_message=f"Check its permissions, or set {CACHE_DIR_VARIABLE} to a directory you can write.",
        ) from error


def _disk_space_error(folder: Path, problem: str) -> DiskSpaceError:
    return DiskSpaceError(
        f"no room in {folder}: {problem}",
        help_message=f"Free some space, or set {CACHE_DIR_VARIABLE} to a directory on a larger disk; "
        "what has arrived is kept.",
    )
