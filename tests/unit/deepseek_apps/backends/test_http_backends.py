"""Hosted and server over a real socket: what is sent, where keys go, and what never leaves."""

from __future__ import annotations

import httpx2
import openai
import pytest
from fake_deepseek import FakeDeepSeek, fake_deepseek, redirect, stream

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError, http_client
from deepseek_apps.backends import BACKEND_HEADER

MESSAGES = [{"role": "user", "content": "hi"}]
OPENAI_VARIABLES = {
    "OPENAI_API_KEY": "sk-openai-LEAK",
    "OPENAI_ADMIN_KEY": "admin-LEAK",
    "OPENAI_ORG_ID": "org-LEAK",
    "OPENAI_PROJECT_ID": "project-LEAK",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer custom-LEAK\nX-Custom: LEAK",
    "OPENAI_WEBHOOK_SECRET": "webhook-LEAK",
}


@pytest.fixture
def openai_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OPENAI_VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/LEAK")


def hosted(fake: FakeDeepSeek) -> DeepSeek:
    return DeepSeek(backend="hosted", base_url=fake.url, api_key="sk-given", max_retries=0)


def ask(client: DeepSeek, **fields: object) -> str:
    extra = {"model": client.default_model, "messages": MESSAGES} | fields
    return client.chat.completions.create(**extra).choices[0].message.content or ""


@pytest.mark.usefixtures("openai_environment")
@pytest.mark.parametrize("key", [None, "srv-key"])
def test_nothing_of_openais_environment_leaves_for_a_server(fake: FakeDeepSeek, key: str | None) -> None:
    with DeepSeek(backend="server", base_url=f"{fake.url}/v1", api_key=key) as client:
        assert ask(client) == "Hello."
        assert ask(client.with_options(timeout=5)) == "Hello."
    assert all("LEAK" not in asked.sent for asked in fake.asked)
    assert {asked.headers.get("authorization") for asked in fake.asked} == {key and f"Bearer {key}"}


@pytest.mark.usefixtures("openai_environment")
async def test_nothing_of_openais_environment_leaves_asynchronously(fake: FakeDeepSeek) -> None:
    async with AsyncDeepSeek(backend="server", base_url=fake.url) as client:
        await client.copy().chat.completions.create(model="m", messages=MESSAGES)
    assert "LEAK" not in fake.asked[0].sent
    assert "authorization" not in fake.asked[0].headers


@pytest.mark.usefixtures("openai_environment")
def test_a_foreign_sdk_over_our_client_sends_our_key_and_not_its_own(fake: FakeDeepSeek) -> None:
    ours = http_client("server", base_url=fake.url, api_key="srv-key")
    with openai.OpenAI(http_client=ours, base_url=fake.url) as client:
        client.with_options(default_headers={"X-Custom": "fine"}).models.list()
    assert fake.asked[0].headers["authorization"] == "Bearer srv-key"
    assert not {"openai-organization", "openai-project"} & set(fake.asked[0].headers)


def test_the_hosted_key_reaches_the_api_and_the_client_does_not_hold_it(fake: FakeDeepSeek) -> None:
    with hosted(fake) as client:
        assert ask(client) == "Hello."
        assert client.api_key == "deepseek-apps"
        assert "sk-given" not in repr(vars(client))
    assert fake.asked[0].headers["authorization"] == "Bearer sk-given"


def test_the_backend_is_named_in_a_response_header(fake: FakeDeepSeek) -> None:
    with hosted(fake) as client:
        raw = client.chat.completions.with_raw_response.create(model="deepseek-flash", messages=MESSAGES)
    assert raw.headers[BACKEND_HEADER] == "hosted"


def test_a_request_to_another_host_is_refused_before_it_is_sent(fake: FakeDeepSeek) -> None:
    with fake_deepseek() as other, hosted(fake) as client:
        with pytest.raises(SettingsError, match="refused"):
            client.with_options(base_url=other.url).models.list()
        with pytest.raises(SettingsError, match="refused"):
            client.get(f"{other.url}/v1/models", cast_to=object)
    assert other.asked == []


@pytest.mark.parametrize("follow", [False, True])
def test_a_redirect_takes_the_key_nowhere(fake: FakeDeepSeek, follow: bool) -> None:
    with fake_deepseek() as other, http_client("hosted", base_url=fake.url, api_key="sk-given") as client:
        fake.script.append(redirect(f"{other.url}/models"))
        if follow:
            with pytest.raises(SettingsError, match="refused"):
                client.get("/models", follow_redirects=True)
        else:
            assert client.get("/models").status_code == 307
    assert other.asked == []


def test_another_scheme_or_port_is_another_host() -> None:
    with http_client("hosted", api_key="sk-given") as client:
        for url in ("http://api.deepseek.com/models", "https://api.deepseek.com:8443/models"):
            with pytest.raises(SettingsError, match="refused"):
                client.get(url)


@pytest.mark.parametrize("name", ["deepseek-chat", "deepseek-reasoner"])
def test_retired_names_are_never_sent(fake: FakeDeepSeek, name: str) -> None:
    with hosted(fake) as client, pytest.raises(SettingsError, match="retired"):
        ask(client, model=name)
    assert fake.asked == []


def test_a_prompt_about_a_retired_name_is_sent(fake: FakeDeepSeek) -> None:
    with hosted(fake) as client:
        ask(client, messages=[{"role": "user", "content": 'What is {"model": "deepseek-chat"}?'}])
    assert len(fake.asked) == 1


STRICT_TOOL = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {}}}
LOOSE_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"strict": {}}}}}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "/chat/completions"),
        ({"tools": [LOOSE_TOOL]}, "/chat/completions"),
        ({"tools": [STRICT_TOOL]}, "/beta/chat/completions"),
        (
            {"messages": [*MESSAGES, {"role": "assistant", "content": "#", "prefix": True}]},
            "/beta/chat/completions",
        ),
        ({"messages": [{"role": "user", "content": '"prefix": true'}]}, "/chat/completions"),
    ],
)
def test_what_only_the_beta_address_serves_goes_there(
    fake: FakeDeepSeek, fields: dict[str, object], path: str
) -> None:
    with hosted(fake) as client:
        ask(client, **fields)
    assert fake.asked[0].path == path


@pytest.mark.parametrize("base", ["", "/v1", "/beta"])
def test_completion_in_the_middle_goes_to_the_beta_address(fake: FakeDeepSeek, base: str) -> None:
    with DeepSeek(backend="hosted", base_url=f"{fake.url}{base}", api_key="sk-given") as client:
        client.completions.create(model="deepseek-flash", prompt="def f(", suffix="return 1")
    assert fake.asked[0].path == "/beta/completions"


def test_streams_arrive_with_usage_and_without_keep_alive_comments(fake: FakeDeepSeek) -> None:
    fake.script.append(stream("你", "好"))
    with hosted(fake) as client:
        chunks = list(client.chat.completions.create(model="deepseek-flash", messages=MESSAGES, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "你好"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 215


async def test_a_stream_without_its_end_is_an_error_asynchronously(fake: FakeDeepSeek) -> None:
    fake.script.append(stream(done=False))
    async with AsyncDeepSeek(backend="server", base_url=fake.url) as client:
        answer = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIConnectionError):
            [chunk async for chunk in answer]


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    fake: FakeDeepSeek, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", fake.url)
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with http_client("server", base_url="http://server.example/v1") as client:
        assert client.get("/models").status_code == 200
    with http_client("server", base_url=fake.url) as client:
        assert client.get("/models").status_code == 200
    assert [asked.path for asked in fake.asked] == ["http://server.example/v1/models", "/models"]


def test_errors_of_plain_httpx2_pass(fake: FakeDeepSeek) -> None:
    with http_client("server", base_url="http://127.0.0.1:9") as client, pytest.raises(httpx2.ConnectError):
        client.get("/models")
