"""The server backend over a real socket: what is recognised, what is sent, and how answers arrive."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from fake_deepseek import FakeDeepSeek, Reply, chunk, completion, error, event_stream, models, plain

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError, from_openai_error
from deepseek_apps.backends import ServerBackend
from deepseek_apps.backends._server_exchange import DROPPED_HEADER
from deepseek_apps.catalog.servers import server_flavor, servers
from deepseek_apps.errors import ContextOverflowError, InvalidRequestError

MESSAGES = [{"role": "user", "content": "hi"}]
OFF = {"thinking": {"type": "disabled"}}
BEGUN = [*MESSAGES, {"role": "assistant", "content": "1.", "prefix": True}]


def answer(body: object, status: int = 200) -> Reply:
    return Reply((json.dumps(body).encode(),), status=status)


def served_by(owner: str) -> Reply:
    return answer({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner}]})


def client(fake: FakeDeepSeek, **options: Any) -> DeepSeek:
    return DeepSeek(backend="server", base_url=f"{fake.url}/v1", model="m", max_retries=0, **options)


def ask(sdk: DeepSeek, **fields: Any) -> Any:
    return sdk.chat.completions.create(**{"model": "m", "messages": MESSAGES} | fields)


def paths(fake: FakeDeepSeek) -> list[str]:
    return [asked.path for asked in fake.asked]


@pytest.mark.parametrize("row", servers().servers, ids=lambda row: row.name)
def test_every_flavor_has_a_name_of_its_own_and_a_source(row: Any) -> None:
    assert server_flavor(row.name) is row
    assert row.source
    assert row.speaks_hosted == (row.name in {"deepseek-apps", "openai"})


def test_an_unknown_flavor_is_a_mistake_of_the_settings() -> None:
    with pytest.raises(SettingsError, match="vllmm") as caught:
        ServerBackend(base_url="http://127.0.0.1:1", flavor="vllmm")
    assert "llama-cpp-python, ollama" in caught.value.help_message


def test_a_plain_request_asks_nobody_what_the_server_is(fake: FakeDeepSeek) -> None:
    with client(fake) as sdk:
        ask(sdk, temperature=0, stop=["x"])
    assert paths(fake) == ["/v1/chat/completions"]


def test_a_server_is_recognised_once_by_its_models(fake: FakeDeepSeek) -> None:
    fake.script += [served_by("vllm"), completion(), completion()]
    with client(fake) as sdk:
        for _ in range(2):
            ask(sdk, extra_body=OFF)
    assert paths(fake) == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]
    for asked in fake.asked[1:]:
        assert asked.body["chat_template_kwargs"] == {"thinking": False, "enable_thinking": False}


async def test_a_server_is_recognised_once_asynchronously(fake: FakeDeepSeek) -> None:
    fake.script += [served_by("sglang"), completion(), completion()]
    async with AsyncDeepSeek(backend="server", base_url=f"{fake.url}/v1", model="m") as sdk:
        for _ in range(2):
            await sdk.chat.completions.create(model="m", messages=BEGUN)
    assert paths(fake) == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]
    assert fake.asked[2].body["continue_final_message"] is True


def test_who_asked_for_the_models_need_not_ask_again(fake: FakeDeepSeek) -> None:
    fake.script += [served_by("vllm"), completion()]
    with DeepSeek(backend="server", base_url=f"{fake.url}/v1") as sdk:
        sdk.chat.completions.create(model=sdk.default_model, messages=MESSAGES, extra_body=OFF)
    assert paths(fake) == ["/v1/models", "/v1/chat/completions"]
    assert "thinking" not in fake.asked[1].body


def test_transformers_is_recognised_by_its_routes(fake: FakeDeepSeek) -> None:
    fake.script += [plain(500, "Internal Server Error"), answer({"paths": {"/load_model": {}}}), completion()]
    with client(fake) as sdk:
        reply = sdk.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES, logprobs=True, extra_body=OFF | {"user_id": "u"}
        )
    assert paths(fake) == ["/v1/models", "/openapi.json", "/v1/chat/completions"]
    assert not {"user_id", "thinking", "logprobs"} & fake.asked[2].body.keys()
    assert reply.headers[DROPPED_HEADER] == "logprobs"
    assert fake.asked[0].headers["connection"] == "close"


def test_an_unknown_server_gets_the_hosted_dialect(fake: FakeDeepSeek) -> None:
    fake.script += [models("m"), plain(404, ""), completion(), completion()]
    with client(fake) as sdk:
        ask(sdk, extra_body=OFF)
        ask(sdk, extra_body=OFF)
    assert paths(fake)[2:] == ["/v1/chat/completions"] * 2
    assert fake.asked[3].body["thinking"] == OFF["thinking"]


def test_the_key_goes_with_the_question(fake: FakeDeepSeek) -> None:
    with client(fake, api_key="srv-key") as sdk:
        ask(sdk, extra_body=OFF)
    assert {asked.headers["authorization"] for asked in fake.asked} == {"Bearer srv-key"}


def test_a_server_that_is_not_there_fails_at_once() -> None:
    backend = ServerBackend(base_url="http://127.0.0.1:9/v1")
    with (
        backend.transport() as transport,
        openai.OpenAI(
            base_url=backend.base_url, api_key="x", max_retries=0, http_client=_over(transport)
        ) as sdk,
        pytest.raises(openai.APIConnectionError),
    ):
        sdk.chat.completions.create(model="m", messages=MESSAGES, extra_body=OFF)


def _over(transport: Any) -> Any:
    import httpx2

    return httpx2.Client(transport=transport)


def test_what_a_server_cannot_do_is_refused_without_a_request(fake: FakeDeepSeek) -> None:
    fake.script.append(served_by("me"))
    with client(fake) as sdk, pytest.raises(openai.BadRequestError) as caught:
        ask(sdk, messages=BEGUN)
    assert paths(fake) == ["/v1/models"]
    ours = from_openai_error(caught.value)
    assert isinstance(ours, InvalidRequestError)
    assert "llama-cpp-python cannot continue" in str(ours)


def test_an_overflow_is_named_whatever_the_server_says(fake: FakeDeepSeek) -> None:
    text = "request (4476 tokens) exceeds the available context size (4096 tokens)"
    fake.script.append(error(400, text, "exceed_context_size_error"))
    with client(fake) as sdk, pytest.raises(openai.BadRequestError) as caught:
        ask(sdk)
    assert isinstance(from_openai_error(caught.value), ContextOverflowError)
    assert text in str(caught.value)


def test_a_stream_arrives_in_the_hosted_dialect(fake: FakeDeepSeek) -> None:
    fake.script.append(event_stream(chunk({"reasoning": "2+2"}), chunk({"content": "4"}), chunk({}, "stop")))
    with client(fake) as sdk:
        chunks = list(ask(sdk, stream=True))
    assert [c.choices[0].delta.model_extra.get("reasoning_content") for c in chunks] == ["2+2", None, None]
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_stream_arrives_in_the_hosted_dialect_asynchronously(fake: FakeDeepSeek) -> None:
    fake.script.append(event_stream(chunk({"reasoning": "2+2"}), chunk({"content": "4"}), chunk({}, "stop")))
    async with AsyncDeepSeek(backend="server", base_url=fake.url) as sdk:
        stream = await sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        chunks = [c async for c in stream]
    assert chunks[0].choices[0].delta.model_extra == {"reasoning_content": "2+2"}


def test_a_stream_that_stops_half_way_is_an_error(fake: FakeDeepSeek) -> None:
    fake.script.append(event_stream(chunk({"content": "4"})))
    with client(fake) as sdk, pytest.raises(openai.APIConnectionError):
        list(ask(sdk, stream=True))


def test_an_error_in_a_stream_says_what_happened(fake: FakeDeepSeek) -> None:
    fake.script.append(event_stream(chunk({"content": "4"}), b'data: {"error": "out of memory"}\n\n'))
    with client(fake) as sdk, pytest.raises(openai.APIError, match="out of memory"):
        list(ask(sdk, stream=True))
