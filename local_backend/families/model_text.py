"""Everything a loaded model needs for text: tokenizer and prompt family.

Built from the checkpoint once and kept beside the packed weights, because a GGUF tokenizer takes seconds.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from local_backend.families.registry import Family, family_for
from local_backend.families.text_assets import TextAssets
from local_backend.families.tokenizer import Tokenizer
from local_backend.store.paths import packed_dir

__all__ = ["ModelText", "load_model_text"]


@dataclass(frozen=True, slots=True)
class ModelText:
    """The text side of one model."""

    tokenizer: Tokenizer
    family: Family


def load_model_text(path: Path, digest: str) -> ModelText:
    """Read the kept copy, or make it from the checkpoint.

    Args:
        path: The checkpoint.
        digest: Its SHA-256 (store/source_hash.py).

    Raises:
        CheckpointError: The checkpoint's tokenizer or template cannot be read.
        UnsupportedModelError: They are of a kind that is not supported.
    """
    directory = _directory(digest)
    if directory.is_dir():
        return _bind(TextAssets.load(directory))
    assets = _read(path)
    text = _bind(assets)
    _save(assets, directory)
    return text


def _directory(digest: str) -> Path:
    return packed_dir() / f"{digest}-text"


def _bind(assets: TextAssets) -> ModelText:
    tokenizer = Tokenizer.from_assets(assets)
    return ModelText(tokenizer, family_for(assets, tokenizer))


def _read(path: Path) -> TextAssets:
    if path.is_dir():
        return TextAssets.from_hf_folder(path)
    from local_backend.store.gguf_header import read_gguf_metadata  # noqa: PLC0415 - first load only

    return TextAssets.from_gguf_metadata(read_gguf_metadata(path))


def _save(assets: TextAssets, directory: Path) -> None:
    """Write a folder that is there whole or not at all; a second process may write the same one."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory.parent, prefix=".text-") as scratch:
        whole = Path(scratch) / "text"
        whole.mkdir()
        assets.save(whole)
        with suppress(OSError):
            whole.rename(directory)
