"""The catalogue of models: its rows, and what of them is on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local_backend.errors import (
    CheckpointError,
    ModelNotPulledError,
    UnknownModelError,
    UnsupportedModelError,
)
from local_backend.store import catalogue, find, installed, packed_dir, remove, resolve_model
from local_backend.store.catalog import model_path
from local_backend.store.paths import cache_dir


@pytest.fixture
def small() -> Path:
    """A file of the right size, without its bytes, where the small starter belongs."""
    row = find("starter-small")
    path = model_path(row)
    path.parent.mkdir(parents=True)
    path.touch()
    os.truncate(path, row.bytes)
    return path


def test_the_default_model_is_the_first_row() -> None:
    assert [row.id for row in catalogue()] == ["starter", "starter-small"]


@pytest.mark.parametrize("row", catalogue(), ids=lambda row: row.id)
def test_rows_are_complete_and_their_mirror_covers_the_file(row) -> None:
    assert len(row.sha256) == 64
    assert row.context == 32768
    assert row.licence == "Apache-2.0"
    assert row.source.endswith(row.hub_repo)
    full_slices, rest = divmod(row.bytes, row.mirror.slice_bytes)
    assert row.mirror.parts == full_slices + (rest > 0)


def test_the_cache_is_where_the_variable_says_else_where_the_platform_says(monkeypatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_CACHE_DIR", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"
    monkeypatch.delenv("DEEPSEEK_APPS_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_dir().name == "deepseek-apps"


def test_an_unknown_name_suggests_a_close_one() -> None:
    with pytest.raises(UnknownModelError, match="'startr'") as caught:
        resolve_model("startr")
    assert "Did you mean 'starter'?" in caught.value.help_message


@pytest.mark.parametrize(
    "name", ["", "no/such.gguf", "nothing.gguf", Path("starter"), "x" * 400, "a\0b.gguf"]
)
def test_what_is_neither_a_name_nor_a_path_is_unknown_or_unreadable(name) -> None:
    with pytest.raises((UnknownModelError, CheckpointError, UnsupportedModelError)) as caught:
        resolve_model(name)
    assert caught.value.help_message


def test_a_model_that_was_not_pulled_names_the_command() -> None:
    with pytest.raises(ModelNotPulledError) as caught:
        resolve_model("starter")
    assert caught.value.help_message == "Run: deepseek-apps models pull starter (1.1 GB)."


def test_a_pulled_model_resolves_to_its_file(small) -> None:
    assert resolve_model("starter-small") == small


@pytest.mark.parametrize(("size", "problem"), [(1000, "truncated: 1000 bytes"), (5 * 10**8, "too long")])
def test_a_file_of_the_wrong_size_says_what_to_do(small, size, problem) -> None:
    os.truncate(small, size)
    with pytest.raises(CheckpointError, match=problem) as caught:
        resolve_model("starter-small")
    assert "models pull starter-small" in caught.value.help_message


def test_files_and_folders_resolve_to_themselves(tmp_path) -> None:
    (tmp_path / "MODEL.GGUF").touch()
    (tmp_path / "config.json").touch()
    assert resolve_model(tmp_path / "MODEL.GGUF") == tmp_path / "MODEL.GGUF"
    assert resolve_model(str(tmp_path)) == tmp_path


def test_an_empty_name_is_not_the_current_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "config.json").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModelError):
        resolve_model("")


def test_other_files_are_unsupported(tmp_path) -> None:
    (tmp_path / "weights.bin").touch()
    for path in (tmp_path, tmp_path / "weights.bin"):
        with pytest.raises(UnsupportedModelError, match=r"neither a \.gguf file nor a folder"):
            resolve_model(path)


def test_states_absent_present_damaged(small) -> None:
    states = {model.row.id: model.state for model in installed()}
    assert states == {"starter": "absent", "starter-small": "present"}
    os.truncate(small, 5)
    damaged = installed()[1]
    assert (damaged.state, damaged.bytes_on_disk) == ("damaged", 5)


def test_a_part_is_listed_with_its_usable_bytes() -> None:
    row = find("starter")
    path = model_path(row)
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.part").write_bytes(bytes(70))
    path.with_name(f"{path.name}.part.json").write_text(f'{{"sha256": "{row.sha256}", "offset": 64}}')
    model = installed()[0]
    assert (model.state, model.bytes_on_disk) == ("partial", 64)


def test_remove_takes_the_packed_copies_along(small) -> None:
    packed = packed_dir() / f"{find('starter-small').sha256}-int4"
    other = packed_dir() / f"{'0' * 64}-int4"
    for folder in (packed, other):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(100))
    assert installed()[1].packed_bytes == 100
    assert remove("starter-small") == 491400064 + 100
    assert not small.parent.exists()
    assert not packed.exists()
    assert other.exists()
    assert remove("starter-small") == 0
