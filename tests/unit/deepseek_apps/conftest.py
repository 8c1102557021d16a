"""No test of this package sees the developer's own keys, settings or proxies."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_deepseek import FakeDeepSeek, fake_deepseek

if TYPE_CHECKING:
    from deepseek_apps import ChatDeepSeek
    from deepseek_apps.testing import FakeDeepSeek as ScriptedDeepSeek


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


@pytest.fixture
def deepseek() -> Iterator[ScriptedDeepSeek]:
    """The loopback DeepSeek that users get, which checks what it is asked."""
    from deepseek_apps.testing import FakeDeepSeek as ScriptedDeepSeek

    with ScriptedDeepSeek(count_tokens=False) as fake:
        yield fake


@pytest.fixture
async def make_chat(deepseek: ScriptedDeepSeek) -> AsyncIterator[Callable[..., ChatDeepSeek]]:
    """Make chat models that ask `deepseek`; closes them."""
    from deepseek_apps import ChatDeepSeek

    made: list[ChatDeepSeek] = []

    def make(**parameters: Any) -> ChatDeepSeek:
        where = {"backend": "hosted", "base_url": deepseek.url, "api_key": deepseek.api_key}
        made.append(ChatDeepSeek(**{"model": "deepseek-flash", "max_retries": 0, **where, **parameters}))
        return made[-1]

    yield make
    for model in made:
        model.root_client.close()
        await model.root_async_client.close()
