"""Everything a loaded model needs for text: tokenizer, prompt family, and how its conversations begin.

Built from the checkpoint once and kept beside the packed weights, because a GGUF tokenizer takes seconds.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

from local_backend.families.registry import Family, family_for
from local_backend.families.text_assets import TextAssets
from local_backend.families.tokenizer import Tokenizer
from local_backend.store.paths import packed_dir

__all__ = ["ModelText", "load_model_text", "remembered_opening"]

_OPENING_FILE = "opening.json"


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
    _save(assets, _opening(text.family), directory)
    return text


def remembered_opening(digest: str) -> list[int] | None:
    """Return the token ids that every conversation without a system prompt begins with.

    None until the model's text has been loaded once.
    """
    try:
        ids: list[int] = json.loads((_directory(digest) / _OPENING_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return ids


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


def _opening(family: Family) -> list[int]:
    """What two conversations that differ from the first word on have in common."""
    from deepseek_recipe import Conversation, UserMessage  # noqa: PLC0415 - first load only

    one, other = (
        family.render(Conversation([UserMessage(word)], thinking_mode=family.supports_thinking)).token_ids
        for word in ("a", "0")
    )
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return [token_id for token_id, _ in pairs]


def _save(assets: TextAssets, opening: list[int], directory: Path) -> None:
    """Write a folder that is there whole or not at all; a second process may write the same one."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory.parent, prefix=".text-") as scratch:
        whole = Path(scratch) / "text"
        whole.mkdir()
        assets.save(whole)
        (whole / _OPENING_FILE).write_text(json.dumps(opening), encoding="utf-8")
        with suppress(OSError):
            whole.rename(directory)
