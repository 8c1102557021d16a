"""The folder that sandboxed commands write to, as seen from outside.

What is in it is not to be trusted: a program in the sandbox may have put links there that lead anywhere. So
paths are walked folder by folder without following any.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from recipes.code_agent.errors import UnsafePathError

__all__ = ["Workspace"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKED = {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}


class Workspace:
    """Files below a folder, by relative path.

    Args:
        root: The folder, which must be there.
        owner: User and group that files are given to; None leaves them ours.
    """

    def __init__(self, root: Path, owner: int | None = None) -> None:
        self.root = root
        self._owner = owner

    def write(self, path: str, content: bytes) -> None:
        """Write a file whole, folders made as needed.

        Raises:
            UnsafePathError: The path leaves the workspace, or a part of it is a link.
            IsADirectoryError: There is a folder of that name.
        """
        parts = _parts(path)
        with self._folder(parts[:-1], path, make=True) as folder:
            temporary = f".{parts[-1]}.{os.getpid()}.tmp"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=folder), "wb") as file:
                file.write(content)
                self._give_away(file.fileno())
            try:
                os.replace(temporary, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                os.unlink(temporary, dir_fd=folder)
                raise

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Read a file, or its first `limit` bytes.

        Raises:
            UnsafePathError: The path leaves the workspace, a part of it is a link, or it is no regular file.
            FileNotFoundError: There is none.
        """
        parts = _parts(path)
        with self._folder(parts[:-1], path, make=False) as folder:
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                handle = os.open(parts[-1], flags, dir_fd=folder)
            except OSError as error:
                raise _refused(error, path) from error
            with os.fdopen(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise _unsafe(path, "is no regular file")
                return file.read(-1 if limit is None else limit)

    def files(self) -> list[str]:
        """Return the regular files, sorted; what links lead to is left out."""
        found: list[str] = []
        for folder, _, names, handle in os.fwalk(self.root, follow_symlinks=False):
            regular = (name for name in names if stat.S_ISREG(os.lstat(name, dir_fd=handle).st_mode))
            found.extend(str(Path(folder, name).relative_to(self.root)) for name in regular)
        return sorted(found)

    def size(self, most: int) -> int:
        """Return the bytes that all files take; counts on only until there are more than `most`."""
        total = 0
        for _, _, names, handle in os.fwalk(self.root, follow_symlinks=False):
            for name in names:
                try:
                    total += os.lstat(name, dir_fd=handle).st_blocks * 512
                except FileNotFoundError:
                    continue  # removed meanwhile
            if total > most:
                break
        return total

    @contextmanager
    def _folder(self, parts: tuple[str, ...], path: str, *, make: bool) -> Iterator[int]:
        """Open a folder below the root, one part after the other."""
        handle = os.open(self.root, _FOLDER)
        try:
            for part in parts:
                if make:
                    self._make_folder(part, handle)
                try:
                    below = os.open(part, _FOLDER, dir_fd=handle)
                except OSError as error:
                    raise _refused(error, path) from error
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)

    def _make_folder(self, name: str, parent: int) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            return
        handle = os.open(name, _FOLDER, dir_fd=parent)
        try:
            self._give_away(handle)
        finally:
            os.close(handle)

    def _give_away(self, handle: int) -> None:
        if self._owner is not None:
            os.fchown(handle, self._owner, self._owner)


def _parts(path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\0" in path:
        raise _unsafe(path, "does not lead into the workspace")
    return parts


def _refused(error: OSError, path: str) -> Exception:
    return _unsafe(path, "passes through a link") if error.errno in _LINKED else error


def _unsafe(path: str, why: str) -> UnsafePathError:
    return UnsafePathError(f"{path!r} {why}", help_message="Use a relative path without links and '..'.")
