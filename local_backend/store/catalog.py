"""What of the catalogue is on this machine, and how a name becomes a file.

Reads and deletes; fetching is pull.py, the facts about models are model_rows.py.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from local_backend.errors import (
    CheckpointError,
    ModelNotPulledError,
    UnknownModelError,
    UnsupportedModelError,
)
from local_backend.store.lock import model_lock
from local_backend.store.model_rows import ModelRow, catalogue, find
from local_backend.store.partial import resumable_bytes
from local_backend.store.paths import models_dir, packed_dir, prefixes_dir
from local_backend.store.source_hash import remembered_hash

__all__ = [
    "InstalledModel",
    "ModelRow",
    "catalogue",
    "find",
    "installed",
    "model_path",
    "remove",
    "resolve_model",
]

ModelState = Literal["absent", "partial", "present", "damaged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """What of a catalogue model is on this machine.

    Attributes:
        row: The catalogue row.
        state: "present" (right size), "partial" (a pull can go on), "damaged" (wrong size) or "absent".
        bytes_on_disk: Size of the file, or of the part that a pull would keep.
        path: Where the file is or will be.
        packed_bytes: Size of the weights repacked from it; 0 when there are none.
    """

    row: ModelRow
    state: ModelState
    bytes_on_disk: int
    path: Path
    packed_bytes: int


def model_path(row: ModelRow) -> Path:
    """Return where the row's file is kept, whether or not it is there."""
    return models_dir() / row.id / row.filename


def resolve_model(name_or_path: str | Path) -> Path:
    """Turn what the user typed into a model file or folder that exists.

    Args:
        name_or_path: A catalogue id (strings only, and it wins over a file of that name), the path of a
            .gguf file, or the path of a Hugging Face folder.

    Raises:
        UnknownModelError: Neither a catalogue id nor an existing path.
        ModelNotPulledError: A catalogue id whose file is not here yet.
        CheckpointError: The catalogue file has the wrong size or cannot be read.
        UnsupportedModelError: The path exists but is neither a .gguf file nor a folder with config.json.
    """
    if isinstance(name_or_path, str) and name_or_path in {row.id for row in catalogue()}:
        return _pulled_file(find(name_or_path))
    path = Path(name_or_path).expanduser()
    try:
        is_model = (path / "config.json").is_file() or (path.is_file() and path.suffix.lower() == ".gguf")
        exists = path.exists() and name_or_path != ""
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise CheckpointError(
            f"cannot read {str(name_or_path)!r}: {error}", help_message="Check the path and its permissions."
        ) from error
    if exists and is_model:
        return path
    if exists:
        raise UnsupportedModelError(
            f"{path} is neither a .gguf file nor a folder with config.json",
            help_message="Give a GGUF file, or the folder of a Hugging Face checkpoint (safetensors).",
        )
    if path.name == name_or_path and path.suffix != ".gguf":
        find(name_or_path)  # a mistyped name rather than a path: suggests a close one
    raise UnknownModelError(
        f"no model at {str(path)!r}",
        help_message=f"Check the path, or use one of: {', '.join(row.id for row in catalogue())}.",
    )


def installed() -> list[InstalledModel]:
    """List every catalogue model with what of it is on this machine."""
    return [_inspect(row) for row in catalogue()]


def remove(name: str) -> int:
    """Delete a model's file, what a pull left of it, the weights packed from it and its cached prefixes.

    Returns:
        Bytes freed; 0 when nothing was there.

    Raises:
        UnknownModelError: The name is not in the catalogue.
        PullLockedError: Another process is pulling this model.
        OSError: A file cannot be deleted.
    """
    row = find(name)
    folder = models_dir() / row.id
    with model_lock(row.id, wait=False):
        derived = [*_packed_copies(row), *_derived(row, prefixes_dir())]
        doomed = [folder, *derived] if folder.is_dir() else derived
        freed = sum(_tree_bytes(path) for path in doomed)
        for path in doomed:
            shutil.rmtree(path)
    return freed


def _pulled_file(row: ModelRow) -> Path:
    path = model_path(row)
    again = f"Run: deepseek-apps models pull {row.id}"
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotPulledError(
            f"model {row.id!r} is not on this machine", help_message=f"{again} ({row.bytes / 1e9:.1f} GB)."
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}", help_message="Check the file's permissions."
        ) from error
    if size != row.bytes:
        problem = "truncated" if size < row.bytes else "too long"
        raise CheckpointError(
            f"{path} is {problem}: {size} bytes instead of {row.bytes}",
            help_message=f"{again} (it replaces the file).",
        )
    return path


def _inspect(row: ModelRow) -> InstalledModel:
    path = model_path(row)
    state: ModelState
    if path.is_file():
        size = path.stat().st_size
        state = "present" if size == row.bytes else "damaged"
    else:
        size = resumable_bytes(path, sha256=row.sha256)
        state = "partial" if size else "absent"
    packed_bytes = sum(_tree_bytes(copy) for copy in _packed_copies(row))
    return InstalledModel(row=row, state=state, bytes_on_disk=size, path=path, packed_bytes=packed_bytes)


def _packed_copies(row: ModelRow) -> list[Path]:
    return _derived(row, packed_dir())


def _derived(row: ModelRow, root: Path) -> list[Path]:
    """Directories under root that are named by the hash of the model's file."""
    hashes = {row.sha256, remembered_hash(model_path(row))}
    return [path for sha in hashes if sha for path in sorted(root.glob(f"{sha}-*")) if path.is_dir()]


def _tree_bytes(root: Path) -> int:
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())
