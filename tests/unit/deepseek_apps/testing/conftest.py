"""A running fake, and the openai SDK pointed at it."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from deepseek_apps.testing import FakeDeepSeek


@pytest.fixture
def fake() -> Iterator[FakeDeepSeek]:
    with FakeDeepSeek(count_tokens=False) as running:
        yield running


@pytest.fixture
def client(fake: FakeDeepSeek) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=fake.url, api_key=fake.api_key, max_retries=0) as made:
        yield made
