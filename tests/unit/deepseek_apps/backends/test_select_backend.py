"""Which backend the settings choose, and which key goes where."""

from __future__ import annotations

import sys

import pytest

from deepseek_apps import SettingsError, errors, load_settings
from deepseek_apps.backends import Backend, select_backend

KEY = "sk-deepseek"
OFFICIAL = "https://api.deepseek.com"


def choose(base_url: str | None = None, api_key: str | None = None, **settings: object) -> Backend:
    return select_backend(load_settings(**settings), base_url=base_url, api_key=api_key)


def key_of(backend: Backend) -> str | None:
    return None if backend.api_key is None else backend.api_key.get_secret_value()


def test_auto_without_anything_is_local() -> None:
    backend = choose()
    assert (backend.name, backend.default_model, key_of(backend)) == ("local", "starter", None)


def test_auto_with_a_key_is_hosted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    backend = choose()
    assert (backend.name, backend.base_url, backend.default_model) == ("hosted", OFFICIAL, "deepseek-flash")
    assert key_of(backend) == KEY


def test_auto_with_an_address_is_the_server_and_does_not_get_the_deepseek_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    monkeypatch.setenv("DEEPSEEK_APPS_BASE_URL", "http://gpu:8000/v1/")
    backend = choose()
    assert (backend.name, backend.base_url, key_of(backend)) == ("server", "http://gpu:8000/v1", None)


def test_auto_with_the_official_address_is_hosted() -> None:
    assert choose(f"{OFFICIAL}/v1", KEY).name == "hosted"


def test_the_openai_key_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    assert choose().name == "local"
    assert key_of(choose("http://gpu:8000/v1")) is None


def test_hosted_without_a_key_says_how_to_get_one() -> None:
    with pytest.raises(errors.AuthenticationError) as caught:
        choose(backend="hosted")
    assert caught.value.exit_code == 3
    assert "DEEPSEEK_API_KEY" in caught.value.help_message


def test_a_configured_server_address_does_not_redirect_the_hosted_backend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    monkeypatch.setenv("DEEPSEEK_APPS_BASE_URL", "http://gpu:8000/v1")
    assert choose(backend="hosted").base_url == OFFICIAL


def test_the_environments_key_is_not_sent_to_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    with pytest.raises(SettingsError, match=r"not sent to https://mirror\.example"):
        choose("https://mirror.example", backend="hosted")
    assert key_of(choose("https://mirror.example", "sk-mirror", backend="hosted")) == "sk-mirror"


@pytest.mark.parametrize("url", ["http://api.deepseek.com", "http://mirror.example"])
def test_a_hosted_key_is_never_sent_unencrypted(url: str) -> None:
    with pytest.raises(SettingsError, match="unencrypted"):
        choose(url, KEY, backend="hosted")


def test_the_server_key_belongs_to_the_configured_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_SERVER_API_KEY", "srv")
    assert key_of(choose("http://gpu:8000/v1")) == "srv"
    monkeypatch.setenv("DEEPSEEK_APPS_BASE_URL", "http://gpu:8000/v1")
    assert key_of(choose()) == "srv"
    assert key_of(choose("http://other:8000/v1")) is None
    assert key_of(choose("http://other:8000/v1", "own")) == "own"


def test_the_server_backend_needs_an_address() -> None:
    with pytest.raises(SettingsError, match="address"):
        choose(backend="server")


def test_the_local_backend_takes_no_address() -> None:
    with pytest.raises(SettingsError, match="base_url"):
        choose("http://gpu:8000/v1", backend="local")


def test_a_hosted_name_means_the_starter_on_this_machine() -> None:
    assert choose(backend="local", model="deepseek-v4-pro").default_model == "starter"
    assert choose(backend="local", model="starter-small").default_model == "starter-small"


def test_model_names_of_the_hosted_backend_are_todays() -> None:
    assert choose(backend="hosted", api_key=KEY, model="deepseek-v4-flash").default_model == "deepseek-flash"
    with pytest.raises(SettingsError, match="retired"):
        choose(backend="hosted", api_key=KEY, model="deepseek-chat")


def test_without_the_extra_local_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SettingsError, match="needs torch") as caught:
        choose(backend="local")
    assert "deepseek-apps[local]" in caught.value.help_message
    with pytest.raises(SettingsError, match="no backend") as caught:
        choose()
    assert "DEEPSEEK_API_KEY" in caught.value.help_message


def test_keys_are_not_in_the_repr() -> None:
    assert KEY not in repr(choose(backend="hosted", api_key=KEY))
