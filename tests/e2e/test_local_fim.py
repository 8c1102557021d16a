"""Completion in the middle, models and schemas on the embedded engine and the small starter: real weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from deepseek_apps import AsyncDeepSeek, DeepSeek
from deepseek_apps.backends.local import _ENGINES
from deepseek_apps.langchain_fim import DeepSeekFIM

BEFORE, AFTER = "def add(a, b):\n    ", "\n\nprint(add(1, 2))"
ANSWER = "return a + b"
LOCAL: dict[str, Any] = {"backend": "local", "model": "starter-small"}
pytestmark = pytest.mark.usefixtures("starter_small_gguf")


class City(BaseModel):
    name: str
    country: str


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("DEEPSEEK_APPS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)


@pytest.fixture(scope="module", autouse=True)
def engines() -> Iterator[None]:
    yield
    _ENGINES.close()


def test_the_hole_is_filled() -> None:
    with DeepSeek(**LOCAL) as client:
        assert client.fim(BEFORE, AFTER, max_tokens=8, temperature=0, stop="\n") == ANSWER
        pieces = list(
            client.fim.create(prompt=BEFORE, suffix=AFTER, max_tokens=8, temperature=0, stream=True)
        )
        assert "".join(piece.choices[0].text for piece in pieces).startswith(ANSWER)
        cost = client.cost(pieces[-1])
    assert cost is not None
    assert cost.total == 0


async def test_the_hole_is_filled_asynchronously() -> None:
    async with AsyncDeepSeek(**LOCAL) as client:
        assert await client.fim(BEFORE, AFTER, max_tokens=8, temperature=0, stop="\n") == ANSWER


def test_langchain_fills_the_hole() -> None:
    fim = DeepSeekFIM(**LOCAL, max_tokens=8, temperature=0, stop="\n")
    assert fim.invoke(f"{BEFORE}<FILL>{AFTER}") == fim.complete(BEFORE, AFTER) == ANSWER
    assert "".join(fim.bind(suffix=AFTER).stream(BEFORE)) == ANSWER
    assert fim.batch([f"{BEFORE}<FILL>{AFTER}", f"{BEFORE}<FILL>{AFTER}"]) == [ANSWER] * 2
    result = fim.generate([f"{BEFORE}<FILL>{AFTER}"])
    info = result.generations[0][0].generation_info or {}
    # The family's three markers come on top of the text's own tokens.
    assert (
        info["usage_metadata"]["input_tokens"] == fim.get_num_tokens(BEFORE) + fim.get_num_tokens(AFTER) + 3
    )


def test_the_models_of_this_machine_are_listed_and_found() -> None:
    with DeepSeek(**LOCAL) as client:
        names = [model.id for model in client.models.list()]
        assert client.models.retrieve(names[0]).id == names[0]
        with pytest.raises(openai.NotFoundError, match="it serves"):
            client.models.retrieve("nothing")


def test_a_class_is_answered_by_constrained_decoding() -> None:
    with DeepSeek(**LOCAL) as client:
        answer = client.chat.completions.parse(
            messages=[{"role": "user", "content": "Which city is the capital of France?"}],
            response_format=City,
            max_tokens=60,
            temperature=0,
        )
    assert answer.choices[0].message.parsed == City(name="Paris", country="France")
