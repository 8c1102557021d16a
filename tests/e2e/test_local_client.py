"""DeepSeek(backend="local") on the embedded engine and the small starter model: real weights, no stub."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_deepseek import ChatDeepSeek

from deepseek_apps import AsyncDeepSeek, DeepSeek, async_http_client, errors, from_openai_error, http_client
from deepseek_apps.backends.local import _ENGINES

ASK: dict[str, Any] = {
    "model": "deepseek-flash",
    "messages": [{"role": "user", "content": "What is the capital of France? One word."}],
    "temperature": 0,
    "max_tokens": 12,
}
pytestmark = pytest.mark.usefixtures("starter_small_gguf")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)


@pytest.fixture(scope="module", autouse=True)
def engines() -> Iterator[None]:
    yield
    _ENGINES.close()


def local() -> DeepSeek:
    return DeepSeek(backend="local", model="starter-small")


def test_the_stream_folds_to_the_whole_answer() -> None:
    with local() as client:
        # Once before: what is in the prefix cache is not computed again, and pieces differ in rounding.
        client.chat.completions.create(**ASK)
        whole = client.chat.completions.create(**ASK)
        chunks = list(client.chat.completions.create(**ASK, stream=True))
    assert "Paris" in (whole.choices[0].message.content or "")
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert chunks[-1].model == whole.model == "starter-small"


async def test_async_clients_give_the_same_answer_and_share_the_engine() -> None:
    async with AsyncDeepSeek(backend="local", model="starter-small") as client:
        answers = await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(3)))
    with local() as other:
        expected = other.chat.completions.create(**ASK).choices[0].message.content
    assert {answer.choices[0].message.content for answer in answers} == {expected}
    assert len(_ENGINES._engines) == 1


def test_many_threads_are_answered() -> None:
    with local() as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.chat.completions.create(**ASK), range(6)))
    assert len({answer.choices[0].message.content for answer in answers}) == 1


def test_closing_a_stream_stops_the_generation() -> None:
    endless = ASK | {"max_tokens": 4000, "messages": [{"role": "user", "content": "Count to a thousand."}]}
    with local() as client:
        with client.chat.completions.create(**endless, stream=True) as stream:
            next(iter(stream))
        started = time.monotonic()
        client.chat.completions.create(**ASK)
        # 4000 tokens would take minutes.
        assert time.monotonic() - started < 20


def test_context_overflow_is_found_before_the_prompt_is_computed() -> None:
    long = ASK | {"messages": [{"role": "user", "content": "word " * 50_000}]}
    with local() as client, pytest.raises(Exception, match="maximum context length") as caught:
        client.chat.completions.create(**long)
    assert from_openai_error(caught.value).exit_code == errors.ContextOverflowError.exit_code


async def test_langchains_own_model_runs_on_the_engine() -> None:
    model = ChatDeepSeek(
        model="deepseek-flash",
        api_key="local",
        temperature=0,
        max_tokens=12,
        http_client=http_client("local", model="starter-small"),
        http_async_client=async_http_client("local", model="starter-small"),
    )
    question = "What is the capital of France? One word."
    whole = model.invoke(question)
    assert "Paris" in str(whole.content)
    assert (await model.ainvoke(question)).content == whole.content
    assert "".join(str(chunk.content) for chunk in model.stream(question)) == whole.content
    assert "".join([str(chunk.content) async for chunk in model.astream(question)]) == whole.content


def test_a_model_that_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "from deepseek_apps import DeepSeek, from_openai_error\n"
        "try:\n    DeepSeek(backend='local').chat.completions.create(model='starter', messages="
        "[{'role': 'user', 'content': 'x'}])\n"
        "except Exception as error:\n    print(type(from_openai_error(error)).__name__, error)\n"
    )
    environment = {**os.environ, "DEEPSEEK_APPS_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith("NotFoundError")
    assert "deepseek-apps models pull starter" in done.stdout
