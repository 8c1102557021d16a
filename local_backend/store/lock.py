"""One process at a time per model or file: an operating-system file lock that dies with its holder.

The lock file itself is never deleted: deleting it would let two processes lock two files of one name.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local_backend.errors import PullLockedError
from local_backend.store.paths import lock_path

__all__ = ["file_lock", "model_lock"]

POLL_SECONDS = 0.2


@contextmanager
def model_lock(
    model_id: str, *, wait: bool = True, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the exclusive lock of one model.

    Args:
        model_id: Catalogue id.
        wait: Whether to wait for another holder; otherwise its presence is an error.
        on_wait: Called about five times a second while waiting.

    Raises:
        PullLockedError: Held by another process, and wait is False.
        OSError: The lock file cannot be created.
    """
    with file_lock(lock_path(model_id), wait=wait, on_wait=on_wait, holder_of=f"model {model_id!r}"):
        yield


@contextmanager
def file_lock(
    path: Path,
    *,
    wait: bool = True,
    on_wait: Callable[[], None] | None = None,
    holder_of: str = "this file",
) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made if need be and stays.

    Args:
        path: The lock file.
        wait: Whether to wait for another holder; otherwise its presence is an error.
        on_wait: Called about five times a second while waiting.
        holder_of: What the lock protects, for the message.

    Raises:
        PullLockedError: Held by another process, and wait is False.
        OSError: The lock file cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        while not _try_lock(descriptor):
            if not wait:
                raise PullLockedError(
                    f"another process is working on {holder_of} (lock: {path})",
                    help_message="Wait until it ends, or stop it; its progress is kept.",
                )
            if on_wait is not None:
                on_wait()
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
