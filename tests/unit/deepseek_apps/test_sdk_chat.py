"""client.chat.completions: DeepSeek's own fields, schemas on the hosted API, and the SDK's own types."""

from __future__ import annotations

from typing import Any

import openai
import pydantic
import pytest
from fake_deepseek import FakeDeepSeek, Reply, completion, event_stream, models, stream
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError
from deepseek_apps.sdk.fields import dialect_fields

ASK: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
OWN: dict[str, Any] = {"thinking": False, "user_id": "u1", "reasoning_effort": "ultra"}
OWN_ON_THE_WIRE = {"thinking": {"type": "disabled"}, "user_id": "u1", "reasoning_effort": "ultra"}


class Person(BaseModel):
    name: str
    age: int


ANN = '{"name": "Ann", "age": 3}'


@pytest.fixture
def client(fake: FakeDeepSeek) -> Any:
    with DeepSeek(backend="hosted", base_url=fake.url, api_key="sk") as made:
        yield made


@pytest.fixture
async def other(fake: FakeDeepSeek) -> Any:
    async with AsyncDeepSeek(backend="hosted", base_url=fake.url, api_key="sk") as made:
        yield made


def sent(fake: FakeDeepSeek) -> dict[str, Any]:
    body: dict[str, Any] = fake.asked[-1].body
    return body


def test_own_fields_are_keyword_arguments_and_the_model_has_a_default(
    client: DeepSeek, fake: FakeDeepSeek
) -> None:
    client.chat.completions.create(messages=ASK, **OWN)
    assert sent(fake) == {"model": "deepseek-flash", "messages": ASK, **OWN_ON_THE_WIRE}


async def test_own_fields_are_keyword_arguments_asynchronously(
    other: AsyncDeepSeek, fake: FakeDeepSeek
) -> None:
    await other.chat.completions.create(messages=ASK, **OWN)
    assert sent(fake) == {"model": "deepseek-flash", "messages": ASK, **OWN_ON_THE_WIRE}
    chunks = [c async for c in await other.chat.completions.create(messages=ASK, stream=True, **OWN)]
    assert sent(fake) == {"model": "deepseek-flash", "messages": ASK, "stream": True, **OWN_ON_THE_WIRE}
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello."


def test_own_fields_reach_every_way_of_asking(client: DeepSeek, fake: FakeDeepSeek) -> None:
    completions = client.chat.completions
    raw = completions.with_raw_response.create(model="deepseek-v4-pro", messages=ASK, **OWN)
    assert raw.parse().choices[0].message.content == "Hello."
    assert sent(fake).items() >= {"model": "deepseek-v4-pro", **OWN_ON_THE_WIRE}.items()
    with completions.with_streaming_response.create(model="m", messages=ASK, **OWN) as response:
        assert response.parse().choices
    with completions.stream(messages=ASK, **OWN) as events:
        assert events.get_final_completion().choices[0].message.content == "Hello."
    assert sent(fake).items() >= OWN_ON_THE_WIRE.items()


async def test_a_server_is_asked_what_it_serves_when_no_model_is_named(fake: FakeDeepSeek) -> None:
    fake.script.append(models("big"))
    async with AsyncDeepSeek(backend="server", base_url=fake.url) as client:
        with pytest.raises(SettingsError, match="no model"):
            client.chat.completions.stream(messages=ASK)
        await client.chat.completions.create(messages=ASK)
    assert sent(fake)["model"] == "big"


def test_extra_body_wins_and_none_is_not_sent(client: DeepSeek, fake: FakeDeepSeek) -> None:
    extra = {"thinking": {"type": "adaptive"}, "more": 1}
    client.chat.completions.create(messages=ASK, thinking=True, user_id=None, extra_body=extra)
    assert {k: v for k, v in sent(fake).items() if k not in {"model", "messages"}} == extra


def test_thinking_that_is_not_understood_is_refused_before_sending(
    client: DeepSeek, fake: FakeDeepSeek
) -> None:
    with pytest.raises(SettingsError, match="thinking='deep'"):
        client.chat.completions.create(messages=ASK, thinking="deep")  # type: ignore[call-overload]
    assert fake.asked == []


def test_what_only_deepseek_reports_is_readable(client: DeepSeek, fake: FakeDeepSeek) -> None:
    message = {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"}
    body = {
        "id": "1", "object": "chat.completion", "created": 1, "model": "deepseek-flash",
        "choices": [{"index": 0, "message": message, "finish_reason": "insufficient_system_resource"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 1, "prompt_cache_hit_tokens": 3},
    }  # fmt: skip
    fake.script.append(Reply((pydantic.TypeAdapter(Any).dump_json(body),)))
    answer = client.chat.completions.create(messages=ASK)
    assert answer.choices[0].message.reasoning_content == "Hm"  # type: ignore[attr-defined]
    assert answer.choices[0].finish_reason == "insufficient_system_resource"
    assert answer.usage.prompt_cache_hit_tokens == 3  # type: ignore[union-attr]


def test_a_class_is_answered_on_the_hosted_api(client: DeepSeek, fake: FakeDeepSeek) -> None:
    fake.script.append(completion(ANN))
    answer = client.chat.completions.parse(messages=ASK, response_format=Person, thinking=False)
    assert answer.choices[0].message.parsed == Person(name="Ann", age=3)
    body = sent(fake)
    assert body["response_format"] == {"type": "json_object"}
    assert body["thinking"] == {"type": "disabled"}
    assert body["messages"][-1] == ASK[-1]
    assert body["messages"][0]["content"].startswith("Be brief.")
    assert '"age"' in "".join(message["content"] for message in body["messages"])


async def test_a_class_is_answered_on_the_hosted_api_asynchronously(
    other: AsyncDeepSeek, fake: FakeDeepSeek
) -> None:
    fake.script += [completion(ANN), stream(ANN[:9], ANN[9:])]
    answer = await other.chat.completions.parse(messages=ASK, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ann", age=3)
    async with other.chat.completions.stream(messages=ASK, response_format=Person) as events:
        final = await events.get_final_completion()
    assert final.choices[0].message.parsed == Person(name="Ann", age=3)
    assert sent(fake)["response_format"] == {"type": "json_object"}


def test_a_class_is_streamed_on_the_hosted_api(client: DeepSeek, fake: FakeDeepSeek) -> None:
    fake.script.append(stream(ANN[:9], ANN[9:]))
    with client.chat.completions.stream(messages=ASK, response_format=Person) as events:
        assert events.get_final_completion().choices[0].message.parsed == Person(name="Ann", age=3)
    assert sent(fake)["response_format"] == {"type": "json_object"}


def test_an_answer_that_does_not_fit_the_class_is_the_sdks_error(
    client: DeepSeek, fake: FakeDeepSeek
) -> None:
    fake.script.append(completion('{"name": "Ann"}'))
    with pytest.raises(pydantic.ValidationError, match="age"):
        client.chat.completions.parse(messages=ASK, response_format=Person)


def test_a_server_is_sent_the_schema_itself(fake: FakeDeepSeek) -> None:
    fake.script += [completion(ANN)] * 4  # the first answers are for whoever asks what the server is
    with DeepSeek(backend="server", base_url=fake.url, model="m") as client:
        answer = client.chat.completions.parse(messages=ASK, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ann", age=3)
    assert sent(fake)["response_format"]["type"] == "json_schema"
    assert sent(fake)["messages"] == ASK


def test_a_format_that_is_no_class_is_sent_as_it_is(client: DeepSeek, fake: FakeDeepSeek) -> None:
    wanted: Any = {"type": "json_object"}
    client.chat.completions.create(messages=ASK, response_format=wanted)
    assert sent(fake)["response_format"] == wanted
    assert sent(fake)["messages"] == ASK


def test_a_cut_stream_is_the_sdks_error(client: DeepSeek, fake: FakeDeepSeek) -> None:
    fake.script.append(event_stream(b'data: {"choices": []}\n\n'))
    with pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(messages=ASK, stream=True))


@given(st.dictionaries(st.sampled_from(["model", "user_id", "seed"]), st.integers(), max_size=3))
def test_no_field_is_lost(fields: dict[str, int]) -> None:
    given_ = dict(fields)
    moved = dialect_fields(given_)
    assert {**moved.pop("extra_body", {}), **moved} == fields == given_
