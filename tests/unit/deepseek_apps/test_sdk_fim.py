"""client.fim: what is sent, what comes back, and what is refused before sending."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from fake_deepseek import FakeDeepSeek, error, models
from fim_replies import fim_body, fim_reply, fim_stream

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError, errors

BEFORE, AFTER = "def add(a, b):\n    ", "\n\nprint(add(1, 2))"


def hosted(fake: FakeDeepSeek) -> DeepSeek:
    return DeepSeek(backend="hosted", base_url=fake.url, api_key="sk", max_retries=0)


def hosted_async(fake: FakeDeepSeek) -> AsyncDeepSeek:
    return AsyncDeepSeek(backend="hosted", base_url=fake.url, api_key="sk", max_retries=0)


def test_the_short_form_returns_the_text_for_the_hole(fake: FakeDeepSeek) -> None:
    fake.script.append(fim_reply("return a + b"))
    with hosted(fake) as client:
        assert client.fim(BEFORE, AFTER, max_tokens=16) == "return a + b"
    asked = fake.asked[0]
    assert asked.path == "/beta/completions"
    assert asked.body == {
        "model": "deepseek-flash", "prompt": BEFORE, "suffix": AFTER, "max_tokens": 16
    }  # fmt: skip


async def test_the_short_form_works_asynchronously(fake: FakeDeepSeek) -> None:
    fake.script.append(fim_reply("return a + b"))
    async with hosted_async(fake) as client:
        assert await client.fim(BEFORE, AFTER) == "return a + b"
    assert fake.asked[0].body == {"model": "deepseek-flash", "prompt": BEFORE, "suffix": AFTER}


def test_every_documented_field_is_sent_by_its_name(fake: FakeDeepSeek) -> None:
    fields: dict[str, Any] = {
        "model": "deepseek-v4-pro", "temperature": 0.1, "top_p": 0.9, "stop": ["\n"], "logprobs": 2,
        "echo": True, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": 1, "user_id": "u",
    }  # fmt: skip
    fake.script.append(fim_reply("x"))
    with hosted(fake) as client:
        completion = client.fim.create(prompt=BEFORE, max_tokens=None, **fields)
    assert fake.asked[0].body == {"prompt": BEFORE, **fields}
    assert completion.usage is not None
    assert completion.usage.prompt_cache_hit_tokens == 128  # type: ignore[attr-defined]


def test_streamed_pieces_fold_to_the_whole(fake: FakeDeepSeek) -> None:
    fake.script.append(fim_stream("return", " a + b"))
    with hosted(fake) as client, client.fim.create(prompt=BEFORE, suffix=AFTER, stream=True) as pieces:
        received = list(pieces)
    assert "".join(piece.choices[0].text for piece in received) == "return a + b"
    assert received[-1].choices[0].finish_reason == "stop"
    assert received[-1].usage is not None


async def test_streamed_pieces_fold_to_the_whole_asynchronously(fake: FakeDeepSeek) -> None:
    fake.script.append(fim_stream("return", " a + b"))
    async with hosted_async(fake) as client:
        pieces = await client.fim.create(prompt=BEFORE, suffix=AFTER, stream=True)
        assert "".join([piece.choices[0].text async for piece in pieces]) == "return a + b"


@pytest.mark.parametrize("backend", ["hosted", "local"])
def test_too_many_tokens_are_refused_before_sending(backend: Any, fake: FakeDeepSeek) -> None:
    options = {"base_url": fake.url, "api_key": "sk"} if backend == "hosted" else {}
    with DeepSeek(backend=backend, **options) as client, pytest.raises(SettingsError, match="4097") as caught:
        client.fim(BEFORE, AFTER, max_tokens=4097)
    assert "4096" in caught.value.help_message
    assert fake.asked == []


async def test_a_server_may_have_a_limit_of_its_own(fake: FakeDeepSeek) -> None:
    fake.script += [models("big"), fim_reply("x"), fim_reply("x")]
    async with AsyncDeepSeek(backend="server", base_url=fake.url) as client:
        await client.fim(BEFORE, AFTER, max_tokens=5000)
    assert fake.asked[-1].body["model"] == "big"
    assert fake.asked[-1].body["max_tokens"] == 5000


def test_an_answer_given_up_half_way_is_no_answer(fake: FakeDeepSeek) -> None:
    fake.script.append(fim_reply("return a", "insufficient_system_resource"))
    with hosted(fake) as client, pytest.raises(errors.OverloadedError, match="half-way"):
        client.fim(BEFORE, AFTER)


def test_an_answer_without_a_completion_is_an_output_error(fake: FakeDeepSeek) -> None:
    fake.script.append(fim_reply("", choices=[]))
    with hosted(fake) as client, pytest.raises(errors.OutputError, match="no completion"):
        client.fim(BEFORE)


def test_failures_are_the_sdks_own(fake: FakeDeepSeek) -> None:
    fake.script.append(error(402, "Insufficient Balance"))
    with hosted(fake) as client, pytest.raises(openai.APIStatusError, match="Insufficient Balance"):
        client.fim(BEFORE, AFTER)


def test_retired_names_are_refused(fake: FakeDeepSeek) -> None:
    with hosted(fake) as client, pytest.raises(SettingsError, match="retired"):
        client.fim(BEFORE, AFTER, model="deepseek-chat")


def test_the_hand_written_reply_is_what_the_sdk_parses() -> None:
    assert openai.types.Completion.model_validate_json(json.dumps(fim_body("x"))).choices[0].text == "x"
