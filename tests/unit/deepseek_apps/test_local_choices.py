"""How weights and cache are kept, from the settings to the engine that runs."""

from __future__ import annotations

from typing import get_args

import pytest

from deepseek_apps import settings as ours
from deepseek_apps.backend_client import http_client
from deepseek_apps.backends import LocalBackend, select_backend
from deepseek_apps.backends._engines import WantedModel
from deepseek_apps.cli import options
from deepseek_apps.cli.session import engine_config
from deepseek_apps.errors import SettingsError
from deepseek_apps.settings import config_path, load_settings, save_setting
from local_backend import config as theirs


def test_the_names_are_the_engines() -> None:
    assert get_args(ours.Quantization) == get_args(theirs.Quantization) == get_args(options.QuantizationName)
    assert get_args(ours.CacheDtype) == get_args(theirs.CacheDtype) == get_args(options.CacheDtypeName)


def test_settings_reach_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_QUANTIZATION", "int4")
    save_setting("cache_dtype", "int6")
    backend = select_backend(load_settings(backend="local"))
    assert isinstance(backend, LocalBackend)
    assert (backend.quantization, backend.cache_dtype) == ("int4", "int6")
    assert "cache_dtype" in config_path().read_text()


def test_the_disk_for_prefixes_reaches_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_PREFIX_CACHE_GB", "0.25")
    backend = select_backend(load_settings(backend="local"))
    assert isinstance(backend, LocalBackend)
    assert backend.prefix_cache_bytes == 250_000_000
    wanted = WantedModel("starter", prefix_cache_bytes=backend.prefix_cache_bytes)
    assert wanted.engine_config().prefix_cache_bytes == 250_000_000


def test_guessing_ahead_reaches_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_args(ours.Speculation) == get_args(theirs.Speculation) == get_args(options.SpeculationName)
    monkeypatch.setenv("DEEPSEEK_APPS_SPECULATION", "off")
    backend = select_backend(load_settings(backend="local"))
    assert isinstance(backend, LocalBackend)
    wanted = WantedModel("starter", speculation=backend.speculation)
    assert wanted.engine_config().speculation == "off"
    assert engine_config().speculation == "off"
    assert engine_config(speculation="mtp").speculation == "mtp"


def test_a_wrong_choice_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_QUANTIZATION", "int3")
    with pytest.raises(SettingsError, match="int3"):
        load_settings()


def test_equal_wishes_share_an_engine_and_others_do_not() -> None:
    wanted = WantedModel("starter", "int4", "int8")
    assert wanted == WantedModel("starter", "int4", "int8") != WantedModel("starter")
    config = wanted.engine_config()
    assert (config.quantization, config.cache_dtype) == ("int4", "int8")


def test_a_notice_is_no_part_of_the_backends_value() -> None:
    with http_client("local", notice=print) as client, http_client("local") as silent:
        assert isinstance(client.backend, LocalBackend)
        assert client.backend.notice is print
        assert client.backend == silent.backend
