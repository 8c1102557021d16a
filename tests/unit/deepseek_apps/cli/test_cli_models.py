"""`models` over a real store in a scratch directory, with a small file standing for a model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from local_backend.store import catalog, model_rows


@pytest.fixture
def model_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make `starter` a file of 3000 bytes, so that the real pull, hashing and removal run on it."""
    path = tmp_path / "brought-by-hand.gguf"
    path.write_bytes(b"gguf" * 750)
    rows = tuple(
        replace(row, bytes=3000, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        for row in model_rows.catalogue()
    )
    for module in (catalog, model_rows):
        monkeypatch.setattr(module, "catalogue", lambda: rows)
    return path


def state_of(cli, name: str = "starter") -> str:
    return next(row["state"] for row in json.loads(cli("models", "list", "--json").out) if row["id"] == name)


def test_list_shows_the_catalogue(cli) -> None:
    result = cli("models", "list")
    assert result.code == 0
    assert "starter-small" in result.out
    assert "1.12 GB" in result.out
    assert state_of(cli) == "absent"


def test_a_file_brought_by_hand_is_checked_and_taken(cli, model_file, tmp_path) -> None:
    result = cli("models", "pull", "starter", "--from", str(model_file))
    assert result.code == 0
    assert Path(result.out.strip()).read_bytes() == model_file.read_bytes()
    assert state_of(cli) == "present"


def test_a_wrong_file_is_refused_and_leaves_nothing(cli, model_file) -> None:
    model_file.write_bytes(b"fake" * 750)
    result = cli("models", "pull", "--from", str(model_file))
    assert (result.code, result.out) == (1, "")
    assert "error: " in result.err
    assert "\nnext: " in result.err
    assert state_of(cli) == "absent"


def test_info_is_readable_and_machine_readable(cli) -> None:
    assert "about" in cli("models", "info", "starter").out
    details = json.loads(cli("models", "info", "starter", "--json").out)
    assert details["context"] == 32768
    assert details["memory_bytes"] > details["bytes"]


@pytest.mark.parametrize(
    ("reply", "code", "state"), [(b"n\n", 2, "present"), (b"", 2, "present"), (b"y\n", 0, "absent")]
)
def test_rm_asks_first(cli, model_file, reply, code, state) -> None:
    cli("models", "pull", "--from", str(model_file))
    assert cli("models", "rm", "starter", stdin=reply).code == code
    assert state_of(cli) == state


def test_rm_yes_does_not_ask(cli, model_file) -> None:
    cli("models", "pull", "--from", str(model_file))
    result = cli("models", "rm", "starter", "-y")
    assert (result.code, "[y/N]" in result.err) == (0, False)
