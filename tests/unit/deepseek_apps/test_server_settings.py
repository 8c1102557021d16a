"""Named servers in the config file, several addresses, and what of that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_apps import SettingsError, load_settings
from deepseek_apps.settings import ServerPrice, config_path, describe, save_setting

SERVER = """
[servers.gpu]
base_urls = ["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1/"]
model = "deepseek-v4"
api_key_env = "GPU_KEY"
flavor = "vllm"
context = 65536
images = true
price = {hit = 0.01, miss = 0.1, output = 0.4}
[servers.cpu]
base_url = "http://127.0.0.1:8080"
"""


def write(text: str) -> Path:
    config_path().write_text(text, encoding="utf-8")
    return config_path()


def test_servers_are_read() -> None:
    write(SERVER)
    gpu, cpu = load_settings().servers["gpu"], load_settings().servers["cpu"]
    assert gpu.base_urls == ("http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1")
    assert (gpu.model, gpu.api_key_env, gpu.flavor, gpu.context, gpu.images) == (
        "deepseek-v4",
        "GPU_KEY",
        "vllm",
        65536,
        True,
    )
    assert gpu.price == ServerPrice(hit=0.01, miss=0.1, output=0.4)
    assert (cpu.base_urls, cpu.price.miss) == (("http://127.0.0.1:8080",), 0.0)


def test_servers_are_described() -> None:
    assert describe(load_settings())["servers"] == "none"
    write(SERVER)
    assert (
        "gpu: http://10.0.0.1:8000/v1 http://10.0.0.2:8000/v1, model" in describe(load_settings())["servers"]
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://a:1/v1/", "http://a:1/v1"),
        ("http://a:1, http://b:2/", "http://a:1,http://b:2"),
        (["http://a:1", "http://b:2"], "http://a:1,http://b:2"),
    ],
)
def test_one_server_may_have_several_addresses(given: object, kept: str) -> None:
    assert load_settings(base_url=given).base_url == kept


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[servers.gpu]\n", "servers.gpu.base_urls"),
        ('[servers.gpu]\nbase_url = "gpu:8000"\n', "servers.gpu.base_urls"),
        ('[servers.gpu]\nbase_url = "http://a"\nbase_urls = ["http://b"]\n', "not both"),
        ('[servers.gpu]\nbase_url = "http://a"\nkey = "x"\n', "servers.gpu.key"),
        ('[servers.gpu]\nbase_url = "http://a"\napi_key_env = "DEEPSEEK_API_KEY"\n', "api_key_env"),
        ('[servers.gpu]\nbase_url = "http://a"\napi_key = "x"\n', "not kept on disk; api_key_env"),
        ('[servers.gpu]\nbase_url = "http://a"\nprize = 1\n', "known are base_url, base_urls, model"),
        ("[servers.gpu]\nbase_url = 5\n", "an address, or a list of them"),
        ('[servers.gpu]\nbase_url = "http://a"\ncontext = 0\n', "servers.gpu.context"),
        ('[servers.gpu]\nbase_url = "http://a"\ncontext = -7\n', "not -7"),
        ('[servers.gpu]\nbase_url = "http://a"\nprice = {miss = -1}\n', "servers.gpu.price.miss"),
        ('[servers."a b"]\nbase_url = "http://a"\n', "'a b'"),
        ('base_url = "http://a,http://a"\n', "each address once"),
        ('base_url = "http://a,ftp://b"\n', "base_url="),
        ("base_url = []\n", "base_url="),
        ("deadline = 0\n", "deadline=0"),
        ('backend = "server:"\n', "backend='server:'"),
        ('backend = "server:a b"\n', "backend="),
        ('backend = "hosted:x"\n', "cheapest, private, or server:NAME"),
    ],
)
def test_a_bad_table_is_named_with_its_file(text: str, named: str) -> None:
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert named in str(caught.value)
    assert str(path) in caught.value.help_message


def test_a_table_in_a_variable_that_is_no_json_is_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_SERVERS", "gpu")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "[servers.NAME]" in caught.value.help_message


def test_saving_keeps_tables_and_refuses_them() -> None:
    path = write(SERVER)
    save_setting("backend", "server:gpu")
    save_setting("base_url", "http://a,http://b")
    assert path.read_text().endswith(SERVER[1:])
    assert load_settings().backend == "server:gpu"
    for key in ("servers", "servers.gpu.model"):
        with pytest.raises(SettingsError, match=key) as caught:
            save_setting(key, "gpu")
        assert "[servers.NAME] tables" in caught.value.help_message


def test_a_password_in_an_address_is_not_shown() -> None:
    write('[servers.gpu]\nbase_url = "http://u:hunter2@a"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
