"""An asynchronous client outlives the event loop that it was first used in."""

from __future__ import annotations

import asyncio
import gc

import pytest
from fake_deepseek import FakeDeepSeek

from deepseek_apps import AsyncDeepSeek


@pytest.mark.filterwarnings("ignore:.*unclosed.*:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_each_run_of_a_loop_has_its_own_connections(fake: FakeDeepSeek) -> None:
    def answers() -> list[str | None]:
        client = AsyncDeepSeek(backend="hosted", base_url=fake.url, api_key="sk")

        async def ask() -> str | None:
            reply = await client.chat.completions.create(messages=[{"role": "user", "content": "Hi"}])
            return reply.choices[0].message.content

        return [asyncio.run(ask()) for _ in range(4)]

    assert answers() == ["Hello."] * 4
    gc.collect()  # what the ended loops left open complains here, and in no other test
