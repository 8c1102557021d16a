"""`cache` over real files in a scratch directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local_backend.store.paths import prefixes_dir


@pytest.fixture
def segment() -> Path:
    path = prefixes_dir() / "model" / "a-0"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(5_000_000))
    return path


def test_info_says_what_is_there(cli, segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_PREFIX_CACHE_GB", "0.5")
    assert "5 MB of 500 MB" in cli("cache", "info").out
    details = json.loads(cli("cache", "info", "--json").out)
    assert details == {
        "directory": str(prefixes_dir()),
        "bytes": 5_000_000,
        "limit": 500_000_000,
        "segments": 1,
        "models": 1,
    }


def test_clear_asks_first(cli, segment: Path) -> None:
    assert cli("cache", "clear").code == 2
    assert segment.exists()
    result = cli("cache", "clear", "--yes")
    assert (result.code, segment.exists()) == (0, False)
    assert "freed 5 MB" in result.err


def test_the_limit_has_a_default(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPSEEK_APPS_PREFIX_CACHE_GB", raising=False)
    assert json.loads(cli("cache", "info", "--json").out)["limit"] > 0


def test_a_negative_limit_is_refused(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_PREFIX_CACHE_GB", "-1")
    result = cli("cache", "info")
    assert result.code == 2
    assert "prefix_cache_gb" in result.err
