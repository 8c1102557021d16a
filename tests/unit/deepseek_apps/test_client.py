"""DeepSeek and AsyncDeepSeek: defaults, copies, pickles, and what they refuse."""

from __future__ import annotations

import pickle

import httpx2
import openai
import pytest
from fake_deepseek import FakeDeepSeek, error, models

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError, async_http_client, errors, http_client

MESSAGES = [{"role": "user", "content": "hi"}]
Client = type[DeepSeek] | type[AsyncDeepSeek]
BOTH = pytest.mark.parametrize("kind", [DeepSeek, AsyncDeepSeek])


@BOTH
def test_construction_is_free_and_says_who_answers(kind: Client) -> None:
    client = kind()
    assert (client.backend_name, client.default_model, client.max_retries) == ("local", "starter", 0)
    hosted = kind(backend="hosted", api_key="sk")
    assert (hosted.backend_name, hosted.default_model, hosted.max_retries) == ("hosted", "deepseek-flash", 2)
    assert hosted.timeout == httpx2.Timeout(600.0, connect=10.0)


@BOTH
def test_the_config_file_chooses_and_arguments_win(kind: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_MODEL", "starter-small")
    monkeypatch.setenv("DEEPSEEK_APPS_TIMEOUT", "3")
    assert kind(backend="local").default_model == "starter-small"
    assert kind(model="starter", timeout=5).default_model == "starter"
    assert kind().timeout == httpx2.Timeout(3.0)
    assert kind(timeout=None).timeout is None


@BOTH
def test_copies_keep_the_transport_and_the_key(kind: Client) -> None:
    client = kind(backend="hosted", api_key="sk", default_headers={"x-mine": "1"})
    for copied in (client.copy(), client.with_options(timeout=3, max_retries=7)):
        assert type(copied) is kind
        assert copied._client is client._client
        assert copied._custom_headers == {"x-mine": "1"}
    assert client.with_options(max_retries=7).max_retries == 7


def test_a_copy_with_another_key_sends_that_key(fake: FakeDeepSeek) -> None:
    with DeepSeek(backend="hosted", base_url=fake.url, api_key="first") as client:
        with client.with_options(api_key="second") as other:
            other.models.list()
        client.models.list()
    assert [asked.headers["authorization"] for asked in fake.asked] == ["Bearer second", "Bearer first"]


@BOTH
def test_a_pickled_client_reaches_the_same_backend(kind: Client) -> None:
    client = kind(backend="server", base_url="http://gpu:8000/v1", model="m", timeout=3, max_retries=5)
    copied = pickle.loads(pickle.dumps(client))
    assert type(copied) is kind
    assert (copied.backend_name, copied.default_model) == ("server", "m")
    assert (copied.base_url, copied.timeout, copied.max_retries) == (client.base_url, client.timeout, 5)


def test_a_pickled_client_answers(fake: FakeDeepSeek) -> None:
    client = DeepSeek(backend="hosted", base_url=fake.url, api_key="sk")
    with pickle.loads(pickle.dumps(client)) as copied:
        assert copied.chat.completions.create(model="deepseek-flash", messages=MESSAGES).choices
    assert fake.asked[0].headers["authorization"] == "Bearer sk"


def test_a_server_without_a_configured_model_is_asked_once(fake: FakeDeepSeek) -> None:
    fake.script.append(models("big-model", "other"))
    with DeepSeek(backend="server", base_url=f"{fake.url}/v1") as client:
        assert client.default_model == "big-model"
        assert client.default_model == "big-model"
    assert [asked.path for asked in fake.asked] == ["/v1/models"]


async def test_a_server_without_a_configured_model_is_asked_once_asynchronously(fake: FakeDeepSeek) -> None:
    async with AsyncDeepSeek(backend="server", base_url=fake.url) as client:
        with pytest.raises(SettingsError, match="no model"):
            _ = client.default_model
        assert await client.resolve_model() == client.default_model == "deepseek-flash"
    assert len(fake.asked) == 1


def test_a_server_that_cannot_say_what_it_serves_is_a_backend_error(fake: FakeDeepSeek) -> None:
    fake.script += [error(401, "no"), models()]
    with DeepSeek(backend="server", base_url=fake.url) as client:
        with pytest.raises(errors.AuthenticationError):
            _ = client.default_model
        assert client.default_model == "deepseek-flash"


def test_clients_can_share_one_http_client(fake: FakeDeepSeek) -> None:
    shared = http_client("server", base_url=fake.url, model="m")
    with DeepSeek(http_client=shared) as client:
        assert (client.backend_name, client.default_model) == ("server", "m")
        assert client._client is shared
        with pytest.raises(SettingsError, match="contradicts"):
            DeepSeek(http_client=shared, backend="local")


def test_an_http_client_of_the_wrong_kind_is_refused() -> None:
    for foreign in (httpx2.AsyncClient(), object(), async_http_client("local")):
        with pytest.raises(SettingsError, match="http_client is a") as caught:
            DeepSeek(http_client=foreign)
        assert "deepseek_apps.http_client()" in caught.value.help_message
    with pytest.raises(SettingsError, match="http_client is a"):
        AsyncDeepSeek(http_client=http_client("local"))


@BOTH
def test_options_of_the_sdk_that_mean_nothing_here_are_refused(kind: Client) -> None:
    with pytest.raises(SettingsError, match="organization='x'"):
        kind(organization="x")
    with pytest.raises(SettingsError, match="wat=1"):
        kind(wat=1)


@BOTH
@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://user:pw@host"])
def test_a_bad_address_is_refused(kind: Client, url: str) -> None:
    with pytest.raises(SettingsError, match="base_url"):
        kind(base_url=url)


def test_it_is_the_openai_client() -> None:
    assert issubclass(DeepSeek, openai.OpenAI)
    assert issubclass(AsyncDeepSeek, openai.AsyncOpenAI)
