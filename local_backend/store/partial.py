"""A file that grows from front to back across processes and appears under its name only when it is whole.

`<file>.part` holds a prefix of the file; `<file>.part.json` says how much of it is known to be on disk and
which file it is a prefix of. Bytes past that point (after kill -9 or a power cut) are cut off and fetched
again, so a pull can be stopped anywhere. Where the bytes come from does not matter here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from local_backend.errors import HashMismatchError, PullError
from local_backend.store.atomic import sync_directory, write_text_atomic
from local_backend.store.source_hash import remember_hash

__all__ = ["PartialFile", "resumable_bytes"]

CHECKPOINT_BYTES = 16 << 20
READ_BYTES = 1 << 20


def resumable_bytes(target: Path, *, sha256: str) -> int:
    """Return how many leading bytes of target an earlier pull left in a usable state.

    Args:
        target: Final path of the file.
        sha256: Digest of the file wanted; the rest of another version does not count.
    """
    try:
        journal = json.loads(_journal_path(target).read_text(encoding="utf-8"))
        if journal["sha256"] != sha256:
            return 0
        return max(0, min(int(journal["offset"]), _part_path(target).stat().st_size))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return 0


class PartialFile:
    """The growing file, for use in a `with` block by the process that holds the model's lock.

    Leaving the block keeps what was written, unless commit() or discard() ran.

    Args:
        target: Final path.
        size: Exact size in bytes of the whole file.
        sha256: Its digest.
        checkpoint_bytes: After how many new bytes the journal is brought up to date.

    Attributes:
        resumable: Leading bytes known to be on disk, from which another process could go on.
        offset: Leading bytes hashed or written by this object.
    """

    def __init__(
        self, target: Path, *, size: int, sha256: str, checkpoint_bytes: int = CHECKPOINT_BYTES
    ) -> None:
        self.target = target
        self.size = size
        self._sha256 = sha256
        self._checkpoint_bytes = checkpoint_bytes
        self._digest = hashlib.sha256()
        self.resumable = 0
        self.offset = 0

    def __enter__(self) -> Self:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.resumable = resumable_bytes(self.target, sha256=self._sha256)
        if self.resumable > self.size:
            self.resumable = 0
        part = _part_path(self.target)
        self._file = part.open("r+b" if part.exists() else "w+b", buffering=0)
        self._file.truncate(self.resumable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file.closed:
            return
        with contextlib.suppress(OSError):  # a full disk: the previous checkpoint stands
            self._checkpoint()
        self._file.close()
        if self.offset == self.resumable == 0:
            self.discard()

    def resume(self, on_progress: Callable[[int], None]) -> None:
        """Hash what an earlier pull left; call it once, before the first write.

        Args:
            on_progress: Called with the number of bytes hashed so far.
        """
        self._file.seek(0)
        while self.offset < self.resumable:
            data = self._file.read(min(READ_BYTES, self.resumable - self.offset))
            if not data:
                raise PullError(f"{self._file.name} became shorter while it was read")
            self._digest.update(data)
            self.offset += len(data)
            on_progress(self.offset)

    def restart(self) -> None:
        """Forget what an earlier pull left; the next write is the file's first byte."""
        _journal_path(self.target).unlink(missing_ok=True)
        self._file.truncate(0)
        self.resumable = 0

    def write(self, data: bytes) -> None:
        """Append data, which must be the file's next bytes.

        Raises:
            PullError: More bytes than the file has.
            OSError: The disk is full or failed; what fitted is kept.
        """
        if self.offset + len(data) > self.size:
            raise PullError(
                f"the source sent more than the {self.size} bytes of {self.target.name}",
                help_message="Pull again from the other source (hub or mirror).",
            )
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            self._digest.update(view[:written])
            self.offset += written
            view = view[written:]
        if self.offset - self.resumable >= self._checkpoint_bytes:
            self._checkpoint()

    def commit(self) -> Path:
        """Verify the whole file and give it its final name.

        Raises:
            HashMismatchError: Wrong size or digest; nothing of it is kept.
            OSError: The disk failed.
        """
        os.fsync(self._file.fileno())
        self._file.close()
        digest = self._digest.hexdigest()
        if self.offset != self.size or digest != self._sha256:
            self.discard()
            raise HashMismatchError(
                f"{self.target.name}: got {self.offset} bytes with SHA-256 {digest}, "
                f"expected {self.size} bytes with {self._sha256}",
                help_message="Nothing was kept. Pull again; if it repeats, use the other source.",
            )
        _part_path(self.target).replace(self.target)
        sync_directory(self.target.parent)
        remember_hash(self.target, digest)
        _journal_path(self.target).unlink(missing_ok=True)
        return self.target

    def discard(self) -> None:
        """Delete the part and its journal."""
        self._file.close()
        _journal_path(self.target).unlink(missing_ok=True)
        _part_path(self.target).unlink(missing_ok=True)

    def _checkpoint(self) -> None:
        if self.offset <= self.resumable:  # less than it: stopped while hashing what was here
            return
        os.fsync(self._file.fileno())
        journal = {"offset": self.offset, "size": self.size, "sha256": self._sha256}
        write_text_atomic(_journal_path(self.target), json.dumps(journal))
        self.resumable = self.offset


def _part_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _journal_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")
