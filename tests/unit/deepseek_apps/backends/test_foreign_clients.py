"""Somebody else's httpx or httpx2 client makes the connections; who is asked, and with which key, is ours."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import httpx
import httpx2
import openai
import pytest
from fake_deepseek import FakeDeepSeek, chunk, event_stream, redirect, stream

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError

MESSAGES = [{"role": "user", "content": "hi"}]
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


def options(fake: FakeDeepSeek) -> dict[str, Any]:
    return {"backend": "hosted", "base_url": fake.url, "api_key": "sk-given", "max_retries": 0}


@LIBRARIES
def test_it_connects_and_has_no_say_in_the_key(fake: FakeDeepSeek, library: Any) -> None:
    headers = {"authorization": "Bearer theirs"}
    with library.Client(headers=headers, auth=("them", "pw"), base_url="http://elsewhere.example") as theirs:
        with DeepSeek(http_client=theirs, **options(fake)) as client:
            answer = client.chat.completions.create(model="deepseek-flash", messages=MESSAGES)
            chunks = client.chat.completions.create(model="deepseek-flash", messages=MESSAGES, stream=True)
            assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello."
        assert answer.choices[0].message.content == "Hello."
        assert not theirs.is_closed
    assert {asked.headers["authorization"] for asked in fake.asked} == {"Bearer sk-given"}


@LIBRARIES
def test_it_connects_asynchronously(fake: FakeDeepSeek, library: Any) -> None:
    async def ask() -> str:
        async with (
            library.AsyncClient() as theirs,
            AsyncDeepSeek(http_client=theirs, **options(fake)) as client,
        ):
            chunks = await client.chat.completions.create(
                model="deepseek-flash", messages=MESSAGES, stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in chunks])

    assert asyncio.run(ask()) == "Hello."
    assert fake.asked[0].headers["authorization"] == "Bearer sk-given"


@LIBRARIES
def test_its_proxy_is_used(fake: FakeDeepSeek, library: Any) -> None:
    with (
        library.Client(proxy=fake.url) as theirs,
        DeepSeek(backend="server", base_url="http://server.example/v1", http_client=theirs) as client,
    ):
        client.models.list()
    assert fake.asked[0].path == "http://server.example/v1/models"


@LIBRARIES
def test_its_errors_are_those_of_httpx2(fake: FakeDeepSeek, library: Any) -> None:
    fake.script.append(stream("a", done=False, cut=True))
    with library.Client() as theirs, DeepSeek(http_client=theirs, **options(fake)) as client:
        chunks = client.chat.completions.create(model="deepseek-flash", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIConnectionError):
            list(chunks)
    with (
        library.Client() as theirs,
        DeepSeek(
            backend="server", base_url="http://127.0.0.1:9", http_client=theirs, max_retries=0
        ) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        client.models.list()


@LIBRARIES
def test_it_follows_no_redirect_with_our_key(fake: FakeDeepSeek, library: Any) -> None:
    fake.script.append(redirect("http://elsewhere.example/"))
    with (
        library.Client(follow_redirects=True) as theirs,
        DeepSeek(http_client=theirs, **options(fake)) as client,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            client.models.list()
        assert caught.value.status_code == 307


def test_closing_an_answer_closes_its_connection(fake: FakeDeepSeek) -> None:
    fake.script.append(event_stream(*[chunk({"content": "a"})] * 3, b"data: [DONE]\n\n"))
    with httpx2.Client() as theirs, DeepSeek(http_client=theirs, **options(fake)) as client:
        with client.chat.completions.create(model="deepseek-flash", messages=MESSAGES, stream=True) as chunks:
            next(iter(chunks))
        assert client.models.list().data


def test_a_copy_keeps_it_and_a_pickle_cannot(fake: FakeDeepSeek) -> None:
    with httpx2.Client() as theirs, DeepSeek(http_client=theirs, **options(fake)) as client:
        assert client.copy()._client is client._client
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(client)


def test_private_makes_its_own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_BASE_URL", "http://127.0.0.1:9")
    with httpx2.Client() as theirs, pytest.raises(SettingsError, match="private"):
        DeepSeek(backend="private", http_client=theirs)
