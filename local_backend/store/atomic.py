"""Write small files so that a reader sees the old text or the new one, never a half."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["sync_directory", "write_text_atomic"]


def write_text_atomic(path: Path, text: str) -> None:
    """Replace path with text, durably; its directory must exist.

    Raises:
        OSError: The directory is not writable or the disk is full; path is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_directory(path: Path) -> None:
    """Make a rename inside path survive a power cut, where the platform can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
