"""No test of this package sees the developer's own keys, settings or proxies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_deepseek import FakeDeepSeek, fake_deepseek


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        foreign = name.upper().startswith(("DEEPSEEK_", "OPENAI_")) or name.lower().endswith("_proxy")
        if foreign and not name.endswith("_DIR"):  # where models and histories are kept is no setting
            monkeypatch.delenv(name)
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("DEEPSEEK_APPS_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def fake() -> Iterator[FakeDeepSeek]:
    with fake_deepseek() as server:
        yield server
