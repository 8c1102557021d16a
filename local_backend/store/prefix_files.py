"""Segments of cached prefixes as files: one each, checksummed, written whole or not at all.

<prefixes_dir>/<model key>/<key>-<parent key>      one segment; both keys are chain hashes in hex
<prefixes_dir>/<model key>/.<random>.tmp           one that is being written, or was when its writer died

A file is a header (magic, key, parent, size, CRC-32 of everything else) and the blocks' bytes. It appears
under its name by a rename, so a process killed at any moment leaves a temporary file at most. Nothing is
synced to the disk: after a power cut, files may be empty or torn, which size and checksum find. Whatever is
wrong with a file, it is a miss; it is removed, or written anew.

Prompts are private: directories are 0700 and files 0600, and a directory that is not ours alone is not used.
No token and no text is written, only hashes of them and what the model computed from them.
"""

from __future__ import annotations

import os
import secrets
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from zlib import crc32

from local_backend.cache.prefix_tier import SegmentName
from local_backend.errors import PrefixCacheError

__all__ = ["NO_PARENT", "TEMPORARY_SUFFIX", "SegmentFiles"]

NO_PARENT = bytes(16)
TEMPORARY_SUFFIX = ".tmp"
_HEADER = struct.Struct("<8s16s16sQ4xI")
_MAGIC = b"dsprefx1"


@dataclass(frozen=True, slots=True)
class SegmentFiles:
    """The segments of one model, kept under one key; safe with any number of processes.

    Attributes:
        directory: Where they lie.
        segment_bytes: What each holds, header left out.
    """

    directory: Path
    segment_bytes: int

    @classmethod
    def open(cls, directory: Path, segment_bytes: int) -> SegmentFiles:
        """Make the directory and its parent for this user alone, if they are not there.

        Raises:
            PrefixCacheError: They cannot be made, or others may use them.
        """
        try:
            for folder in (directory.parent, directory):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _check_private(folder)
        except OSError as error:
            raise PrefixCacheError(
                f"prefixes cannot be kept in {directory}: {error}",
                help_message="Check its permissions, or set prefix_cache_gb to 0.",
            ) from error
        return cls(directory, segment_bytes)

    @property
    def file_bytes(self) -> int:
        """Size of one file."""
        return _HEADER.size + self.segment_bytes

    def touch(self, name: SegmentName) -> bool:
        """Count a segment as used now; False if it is not there, or cut off."""
        try:
            os.utime(self._path(name))
        except OSError:
            return False
        return self.holds(name)

    def holds(self, name: SegmentName) -> bool:
        """Whether a whole segment is there; it may be gone, or prove damaged, when it is read."""
        try:
            return self._path(name).stat().st_size == self.file_bytes
        except OSError:
            return False

    def read_into(self, name: SegmentName, buffer: memoryview) -> bool:
        """Read a segment and count it as used now.

        Args:
            name: The segment.
            buffer: Takes its segment_bytes; anything may be in it when the answer is no.

        Returns:
            Whether it was there and sound. A damaged one is removed.
        """
        path = self._path(name)
        try:
            with path.open("rb", buffering=0) as file:
                sound = self._read(file, name, buffer)
        except FileNotFoundError:
            return False
        except OSError:
            sound = False
        if not sound:
            with suppress(OSError):
                path.unlink()
            return False
        self.touch(name)
        return True

    def write(self, name: SegmentName, data: bytearray) -> None:
        """Keep a segment under its name, replacing what is there.

        Raises:
            OSError: The disk is full or the directory gone; nothing is left under the name.
        """
        header = self._header(name, crc32(data, self._seed(name)))
        temporary = self.directory / f".{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                for part in (memoryview(header), memoryview(data)):
                    rest = part
                    while rest:
                        rest = rest[file.write(rest) :]
            temporary.replace(self._path(name))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _read(self, file: FileIO, name: SegmentName, buffer: memoryview) -> bool:
        if os.fstat(file.fileno()).st_size != self.file_bytes or len(buffer) != self.segment_bytes:
            return False
        header = bytearray(_HEADER.size)
        for part in (memoryview(header), buffer):
            rest = part
            while rest:
                count = file.readinto(rest)
                if not count:
                    return False
                rest = rest[count:]
        return bytes(header) == self._header(name, crc32(buffer, self._seed(name)))

    def _seed(self, name: SegmentName) -> int:
        """Checksum of the header, so that damage in it is found too."""
        return crc32(self._header(name, 0))

    def _header(self, name: SegmentName, checksum: int) -> bytes:
        return _HEADER.pack(_MAGIC, name.key, name.parent or NO_PARENT, self.segment_bytes, checksum)

    def _path(self, name: SegmentName) -> Path:
        return self.directory / f"{name.key.hex()}-{(name.parent or NO_PARENT).hex()}"


def _check_private(folder: Path) -> None:
    """Refuse what another user owns, or could write or read.

    Raises:
        PermissionError: It is not ours alone.
    """
    if os.name == "nt":  # the profile's own access list protects it
        return
    status = folder.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise PermissionError(f"{folder} is not this user's alone (mode {stat.S_IMODE(status.st_mode):o})")
