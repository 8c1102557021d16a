"""ChatDeepSeek before it is called: its constructor, copies and pickles, and what it says of itself."""

from __future__ import annotations

import pickle
from typing import Any

import langchain_core.load
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd, dumps
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError
from pytest_socket import disable_socket

from deepseek_apps import ChatDeepSeek
from deepseek_apps.errors import AuthenticationError, SettingsError
from deepseek_apps.testing import FakeDeepSeek

HOSTED = {"backend": "hosted", "api_key": "sk-test"}


def authorization(fake: FakeDeepSeek) -> str:
    return fake.requests[-1].headers.get("authorization", "")


def test_making_a_model_opens_no_connection_and_loads_no_model() -> None:
    disable_socket(allow_unix_socket=True)
    hosted, local = ChatDeepSeek(**HOSTED), ChatDeepSeek(backend="local")
    assert (hosted.root_client.default_model, local.root_client.default_model) == (
        "deepseek-flash",
        "starter",
    )


def test_defaults_leave_everything_to_the_backend() -> None:
    model = ChatDeepSeek(**HOSTED)
    assert model._default_params == {}
    assert (model.reasoning_echo, model.forced_tool_choice) == ("all", "disable_thinking")
    assert model.root_client.max_retries == 2
    assert model.root_client.timeout.read == 600


def test_fields_go_by_both_names() -> None:
    one = ChatDeepSeek(
        model="deepseek-v4-pro", base_url="http://127.0.0.1:9", timeout=5, stop_sequences=["x"], **HOSTED
    )
    other = ChatDeepSeek(
        model_name="deepseek-v4-pro", api_base="http://127.0.0.1:9", request_timeout=5, stop=["x"], **HOSTED
    )
    assert one._get_llm_string() == other._get_llm_string()
    assert one.root_client.timeout == other.root_client.timeout
    assert (one.model, one.root_client.timeout.read) == ("deepseek-v4-pro", 5)


def test_address_and_key_of_the_environment_belong_together(
    monkeypatch: pytest.MonkeyPatch, deepseek: FakeDeepSeek
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_BASE", deepseek.url)
    monkeypatch.setenv("DEEPSEEK_API_KEY", deepseek.api_key)
    assert ChatDeepSeek(backend="hosted").invoke("Hi").content == "You said: Hi"
    assert authorization(deepseek) == f"Bearer {deepseek.api_key}"


def test_a_key_of_the_environment_does_not_go_to_an_address_of_the_call(
    monkeypatch: pytest.MonkeyPatch, deepseek: FakeDeepSeek
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-secret")
    ChatDeepSeek(model="deepseek-flash", base_url=deepseek.url, backend="server", max_retries=0)
    with pytest.raises(SettingsError, match="is not sent to"):
        ChatDeepSeek(base_url=deepseek.url, backend="hosted")
    with FakeDeepSeek(api_key="", count_tokens=False) as server:
        ChatDeepSeek(model="deepseek-flash", base_url=server.url).invoke("Hi")
        assert "sk-secret" not in server.requests[0].sent


def test_other_providers_variables_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "API_BASE", "BASE_URL", "ORG_ID", "ORGANIZATION", "PROXY", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "http://other.invalid")
    with pytest.raises(AuthenticationError, match="DeepSeek API key"):
        ChatDeepSeek(backend="hosted")
    model = ChatDeepSeek(**HOSTED)
    assert "other.invalid" not in dumps(model)
    assert "other.invalid" not in repr(model)
    assert str(model.root_client.base_url).startswith("https://api.deepseek.com")
    assert model.root_client.organization is None


@pytest.mark.parametrize(
    "field",
    [
        {"reasoning": {"effort": "high"}},
        {"verbosity": "low"},
        {"service_tier": "flex"},
        {"store": True},
        {"use_responses_api": True},
        {"openai_proxy": "http://127.0.0.1:9"},
    ],
    ids=lambda field: next(iter(field)),
)
def test_what_only_openai_knows_is_refused_by_name(field: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(field))}=.* means nothing"):
        ChatDeepSeek(**HOSTED, **field)


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(SettingsError, match="thinking='loud'"):
        ChatDeepSeek(thinking="loud", **HOSTED)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="user_id has 514 bytes"):
        ChatDeepSeek(user_id="é" * 257, **HOSTED)
    assert ChatDeepSeek(user_id="é" * 256, **HOSTED).user_id
    with pytest.raises(ValidationError, match="'low', 'medium', 'high'"):
        ChatDeepSeek(reasoning_effort="huge", **HOSTED)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="greater than 0"):
        ChatDeepSeek(deadline=0, **HOSTED)


def test_a_pickle_asks_as_its_original_does(make_chat, deepseek: FakeDeepSeek) -> None:
    loaded = pickle.loads(pickle.dumps(make_chat(temperature=0.5, thinking=True)))
    assert loaded.invoke("Hi").content == "You said: Hi"
    assert deepseek.requests[0].body["temperature"] == 0.5
    assert authorization(deepseek) == f"Bearer {deepseek.api_key}"


def test_a_copy_shares_connections_and_has_its_own_parameters(make_chat, deepseek: FakeDeepSeek) -> None:
    model = make_chat()
    copy = model.model_copy(update={"temperature": 0.5, "user_id": "me"})
    assert copy.root_client is model.root_client
    copy.invoke("Hi")
    assert (deepseek.requests[0].body["temperature"], deepseek.requests[0].body["user_id"]) == (0.5, "me")
    assert model.temperature is None


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
def test_a_saved_model_is_loaded_again_and_its_text_has_no_key(make_chat, deepseek: FakeDeepSeek) -> None:
    model = make_chat(thinking=False, reasoning_effort="low", deadline=60)
    assert deepseek.api_key not in dumps(model)
    loaded = langchain_core.load.load(
        dumpd(model),
        allowed_objects=[ChatDeepSeek],
        valid_namespaces=["deepseek_apps"],
        secrets_map={"DEEPSEEK_API_KEY": deepseek.api_key},
    )
    assert loaded._get_llm_string() == model._get_llm_string()
    assert loaded.invoke("Hi").content == "You said: Hi"


def test_a_repr_has_no_key() -> None:
    assert "sk-test" not in repr(ChatDeepSeek(**HOSTED))


def test_the_cache_answers_the_same_question_once(make_chat, deepseek: FakeDeepSeek) -> None:
    model = make_chat(cache=InMemoryCache())
    assert model.invoke("Hi").content == model.invoke("Hi").content
    assert len(deepseek.requests) == 1


@pytest.mark.parametrize("other", [{"backend": "server"}, {"temperature": 0.5}, {"thinking": False}])
def test_the_cache_does_not_answer_for_others(make_chat, deepseek: FakeDeepSeek, other: Any) -> None:
    cache = InMemoryCache()
    make_chat(cache=cache).invoke("Hi")
    make_chat(cache=cache, **other).invoke("Hi")
    assert len(deepseek.requests) == 2


def test_the_cache_does_not_answer_for_another_address(make_chat) -> None:
    cache = InMemoryCache()
    make_chat(cache=cache).invoke("Hi")
    with FakeDeepSeek(api_key="sk-2", count_tokens=False) as other:
        make_chat(cache=cache, base_url=other.url, api_key="sk-2").invoke("Hi")
        assert len(other.requests) == 1


def test_tracing_names_provider_model_and_limits() -> None:
    model = ChatDeepSeek(**HOSTED, temperature=0.5, max_tokens=9)
    assert model._get_ls_params(stop=["x"]) == {
        "ls_provider": "deepseek",
        "ls_model_name": "deepseek-flash",
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 9,
        "ls_stop": ["x"],
    }
    assert ChatDeepSeek(backend="local")._get_ls_params()["ls_model_name"] == "starter"


@pytest.mark.parametrize(
    ("name", "images"), [("", True), ("deepseek-v4-flash", True), ("deepseek-v4-pro", False)]
)
def test_profiles_of_hosted_models_are_the_catalogues(name: str, images: bool) -> None:
    profile = ChatDeepSeek(model=name, **HOSTED).profile
    assert profile is not None
    assert (profile["max_input_tokens"], profile["image_inputs"]) == (1_048_576, images)
    assert profile["reasoning_output"]


def test_profiles_never_make_agents_send_tools_with_a_format() -> None:
    for parameters in (HOSTED, {"backend": "local"}, {"base_url": "http://127.0.0.1:9"}):
        profile = ChatDeepSeek(**parameters).profile  # type: ignore[arg-type]
        assert profile is not None
        assert (profile["tool_calling"], profile["structured_output"]) == (True, False)


def test_profiles_of_other_backends_say_no_more_than_is_known(tmp_path) -> None:
    local = ChatDeepSeek(backend="local", model="starter-small").profile
    assert local is not None
    assert (local["max_input_tokens"], local["image_inputs"]) == (32_768, False)
    server = ChatDeepSeek(base_url="http://127.0.0.1:9", model="mine").profile
    assert server is not None
    assert "max_input_tokens" not in server


def test_a_profile_of_ones_own_is_kept() -> None:
    assert ChatDeepSeek(profile={"max_input_tokens": 7}, **HOSTED).profile == {"max_input_tokens": 7}


def test_parameters_are_chosen_while_running(make_chat, deepseek: FakeDeepSeek) -> None:
    model = make_chat().configurable_fields(
        temperature=ConfigurableField(id="temperature"), backend=ConfigurableField(id="backend")
    )
    reply = model.with_config(configurable={"temperature": 0.3, "backend": "server"}).invoke("Hi")
    assert deepseek.requests[0].body["temperature"] == 0.3
    assert reply.response_metadata["backend"] == "server"
    assert model.invoke("Hi").response_metadata["backend"] == "hosted"


def test_tokens_are_counted_by_the_models_own_tokenizer(make_chat, deepseek: FakeDeepSeek) -> None:
    model = make_chat()
    assert len(model.get_token_ids("Hello 世界")) == 3
    assert model.get_num_tokens("Hello 世界") == 3
    assert not deepseek.requests
