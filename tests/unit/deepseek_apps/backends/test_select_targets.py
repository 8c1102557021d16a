"""Everything that may answer, in order of preference, and whose key goes where."""

from __future__ import annotations

import pickle

import pytest

from deepseek_apps import DeepSeek, SettingsError, load_settings
from deepseek_apps.backends import Target, select_targets
from deepseek_apps.routing.routed import RoutedBackend, select_route
from deepseek_apps.settings import config_path

KEY = "sk-deepseek"
FILE = """
[servers.gpu]
base_urls = ["http://10.0.0.1:8000/v1", "http://127.0.0.1:8001/v1"]
model = "big"
api_key_env = "GPU_KEY"
[servers.near]
base_url = "http://localhost:8080/v1"
"""


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    config_path().write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    monkeypatch.setenv("GPU_KEY", "sk-gpu")


def choose(base_url: str | None = None, api_key: str | None = None, **settings: object) -> list[Target]:
    return list(select_targets(load_settings(**settings), base_url=base_url, api_key=api_key))


def labels(targets: list[Target]) -> list[str]:
    return [target.label for target in targets]


def keys(target: Target) -> set[str | None]:
    return {one.api_key.get_secret_value() if one.api_key else None for one in target.replicas}


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("policy", ["auto", "cheapest"])
def test_everything_configured_in_order(policy: str) -> None:
    targets = choose(backend=policy)
    assert labels(targets) == ["server:gpu", "server:near", "hosted", "local"]
    assert [keys(target) for target in targets] == [{"sk-gpu"}, {None}, {KEY}, {None}]
    assert [target.default_model for target in targets] == ["big", None, "deepseek-flash", "starter"]


@pytest.mark.usefixtures("configured")
def test_private_is_this_machine_and_no_replica_elsewhere() -> None:
    targets = choose(backend="private")
    assert labels(targets) == ["server:gpu", "server:near", "local"]
    assert [one.base_url for one in targets[0].replicas] == ["http://127.0.0.1:8001/v1"]


def test_private_alone_is_local_and_refuses_other_addresses() -> None:
    assert labels(choose(backend="private")) == ["local"]
    assert labels(choose("http://127.0.0.1:1", backend="private")) == ["server"]
    with pytest.raises(SettingsError, match="not on this machine"):
        choose("http://127.0.0.1:1,http://gpu:1", backend="private")


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("policy", ["auto", "cheapest"])
def test_an_address_in_the_call_is_meant_as_it_stands(policy: str) -> None:
    assert labels(choose("http://other:1,http://other:2", backend=policy)) == ["server"]


@pytest.mark.usefixtures("configured")
def test_a_named_server() -> None:
    [target] = choose(backend="server:gpu")
    assert (target.label, len(target.replicas), target.default_model) == ("server:gpu", 2, "big")
    assert keys(choose(backend="server:gpu", api_key="own")[0]) == {"own"}
    with pytest.raises(SettingsError, match="unknown server 'nope'") as caught:
        choose(backend="server:nope")
    assert "server:gpu, server:near" in caught.value.help_message
    with pytest.raises(SettingsError, match="contradicts"):
        choose("http://a", backend="server:gpu")
    with pytest.raises(SettingsError, match="any of"):
        choose(backend="server")


@pytest.mark.usefixtures("configured")
def test_a_missing_key_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_KEY")
    with pytest.raises(SettingsError, match="'gpu'") as caught:
        choose()
    assert "GPU_KEY" in caught.value.help_message


def test_replicas_of_base_url_share_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_BASE_URL", "http://a:1/v1,http://b:2/v1")
    monkeypatch.setenv("DEEPSEEK_APPS_SERVER_API_KEY", "srv")
    assert keys(choose(backend="server")[0]) == {"srv"}
    assert keys(choose("http://b:2/v1")[0]) == {"srv"}
    assert keys(choose("http://c:3/v1")[0]) == {None}
    assert keys(choose("http://a:1/v1,http://c:3/v1")[0]) == {"srv", None}


def test_one_backend_needs_no_router(monkeypatch: pytest.MonkeyPatch) -> None:
    assert select_route(load_settings()).name == "local"
    assert not isinstance(select_route(load_settings()), RoutedBackend)
    assert not isinstance(select_route(load_settings(backend="hosted"), api_key=KEY), RoutedBackend)
    assert isinstance(select_route(load_settings(), api_key=KEY), RoutedBackend)


@pytest.mark.usefixtures("configured")
def test_a_routed_client_is_copied_pickled_and_named_after_its_preferred_backend() -> None:
    with DeepSeek(backend="auto") as client:
        assert (client.backend_name, client.default_model) == ("server", "big")
        assert client.copy()._client is client._client
        copied = pickle.loads(pickle.dumps(client))
        assert copied._client.backend == client._client.backend
        assert DeepSeek(http_client=client._client, backend="auto").backend_name == "server"
        copied.close()


def test_a_list_of_addresses_is_one_server() -> None:
    with DeepSeek(base_url=["http://a:1/v1", "http://b:2/v1"]) as client:
        assert (client.backend_name, str(client.base_url)) == ("server", "http://a:1/v1/")
