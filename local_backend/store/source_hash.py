"""The SHA-256 of a model source, remembered so that a gigabyte is not read at every start.

A remembered hash counts only while size and modification time are unchanged. For files of our own store
it lies beside the file (`<file>.sha256.json`); for anything else in the cache directory, because we do
not write into other people's folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from local_backend.errors import CheckpointError
from local_backend.store.atomic import write_text_atomic
from local_backend.store.paths import hashes_dir, models_dir

__all__ = ["remember_hash", "remembered_hash", "source_hash"]

# What of a Hugging Face folder decides the weights, the tokenizer and the prompt format.
_SOURCE_SUFFIXES = frozenset({".gguf", ".jinja", ".json", ".model", ".safetensors", ".txt"})


def source_hash(path: Path) -> str:
    """Return the SHA-256 that names a model source, in hex.

    Args:
        path: A file (the digest of its bytes), or a Hugging Face folder (a digest over the names and
            contents of its model files, sub-folders left out).

    Raises:
        CheckpointError: The path does not exist or cannot be read.
    """
    known = remembered_hash(path)
    if known is not None:
        return known
    try:
        before = _stamp(path)
        digest = _hash_folder(path) if path.is_dir() else _hash_file(path)
        unchanged = _stamp(path) == before
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}", help_message="Check the path and its permissions."
        ) from error
    if unchanged:
        remember_hash(path, digest)
    return digest


def remembered_hash(path: Path) -> str | None:
    """Return the hash of path if it is known and path has not changed since; reads no model bytes."""
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
        if record["stamp"] == _stamp(path):
            return str(record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def remember_hash(path: Path, sha256: str) -> None:
    """Note that path, as it is now, has this hash; a cache that cannot be written is left alone."""
    record = _record_path(path)
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"path": str(path), "sha256": sha256, "stamp": _stamp(path)}, indent=1)
        write_text_atomic(record, text)


def _record_path(path: Path) -> Path:
    absolute = path.resolve()
    if absolute.is_relative_to(models_dir().resolve()) and not absolute.is_dir():
        return path.with_name(f"{path.name}.sha256.json")
    key = hashlib.sha256(str(absolute).encode("utf-8", "surrogateescape")).hexdigest()
    return hashes_dir() / f"{key}.json"


def _stamp(path: Path) -> list[list[object]]:
    """Return [name, size, mtime_ns] of the file, or of each relevant file of the folder."""
    files = _source_files(path) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _source_files(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix in _SOURCE_SUFFIXES and path.is_file())
    return sorted(path for path in files if not path.name.startswith("."))


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _source_files(folder):
        digest.update(f"{path.name}\0{_hash_file(path)}\n".encode())
    return digest.hexdigest()
