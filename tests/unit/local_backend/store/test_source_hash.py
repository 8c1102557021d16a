"""The hash that names a checkpoint: computed once, trusted until the file changes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from local_backend.errors import CheckpointError
from local_backend.store import source_hash
from local_backend.store.paths import hashes_dir, models_dir
from local_backend.store.source_hash import remember_hash, remembered_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder laid out as a Hugging Face checkpoint."""
    path = tmp_path / "checkpoint"
    (path / "figures").mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "README.md").write_text("words")
    return path


def test_a_file_hashes_to_its_sha256_and_is_remembered(tmp_path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"bytes")
    assert source_hash(path) == hashlib.sha256(b"bytes").hexdigest() == remembered_hash(path)
    assert list(tmp_path.glob("a.gguf*")) == [path], "we do not write into other people's folders"


def test_a_file_of_the_store_keeps_its_hash_beside_it(cache) -> None:
    path = models_dir() / "m" / "a.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"bytes")
    source_hash(path)
    assert path.with_name("a.gguf.sha256.json").exists()
    assert not hashes_dir().exists()


def test_a_remembered_hash_is_trusted_until_the_file_changes(tmp_path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"bytes")
    remember_hash(path, "trusted")
    assert source_hash(path) == "trusted"
    os.utime(path, ns=(1, 1))
    assert source_hash(path) == hashlib.sha256(b"bytes").hexdigest()


def test_a_broken_record_is_ignored(tmp_path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"bytes")
    first = source_hash(path)
    for record in hashes_dir().iterdir():
        record.write_text("[half")
    assert source_hash(path) == first


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_changes_its_hash_with_every_model_file(folder, name) -> None:
    before = source_hash(folder)
    (folder / name).write_text("changed")
    assert source_hash(folder) != before


def test_a_folder_keeps_its_hash_when_other_files_change_or_it_moves(folder) -> None:
    before = source_hash(folder)
    (folder / "README.md").write_text("other words")
    assert source_hash(folder.rename(folder.with_name("moved"))) == before


def test_a_cache_that_cannot_be_written_costs_only_time(folder, cache) -> None:
    cache.write_text("not a folder")
    assert source_hash(folder) == source_hash(folder)


def test_a_missing_source_is_a_named_error(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="cannot read"):
        source_hash(tmp_path / "none.gguf")
