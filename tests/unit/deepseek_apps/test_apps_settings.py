"""Where each setting comes from, what is refused, and that keys stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from deepseek_apps import Settings, SettingsError, load_settings
from deepseek_apps.settings import config_path, describe, save_setting

SECRET = "sk-0123456789abcdef"


def write(text: str) -> Path:
    config_path().write_text(text, encoding="utf-8")
    return config_path()


def test_defaults_need_neither_file_nor_environment() -> None:
    settings = load_settings()
    assert (settings.backend, settings.model, settings.api_key, settings.base_url) == (
        "auto",
        None,
        None,
        None,
    )
    assert (settings.timeout, settings.max_retries) == (600.0, 2)


def test_argument_beats_environment_beats_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write('model = "file"\ntimeout = 1\nmax_retries = 1\n')
    monkeypatch.setenv("DEEPSEEK_APPS_MODEL", "environment")
    monkeypatch.setenv("DEEPSEEK_APPS_TIMEOUT", "2")
    settings = load_settings(model="argument")
    assert (settings.model, settings.timeout, settings.max_retries) == ("argument", 2.0, 1)


def test_an_argument_of_none_is_not_given() -> None:
    write('backend = "local"\n')
    assert load_settings(backend=None).backend == "local"


def test_the_key_comes_from_its_own_variable_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "API_KEY", "DEEPSEEK_APPS_API_KEY", "DEEPSEEK_KEY"):
        monkeypatch.setenv(name, SECRET)
    assert load_settings().api_key is None
    monkeypatch.setenv("DEEPSEEK_API_KEY", SECRET)
    key = load_settings().api_key
    assert key is not None
    assert key.get_secret_value() == SECRET


def test_empty_variables_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "")
    monkeypatch.setenv("DEEPSEEK_APPS_BACKEND", "")
    assert (load_settings().api_key, load_settings().backend) == (None, "auto")


def test_a_dotenv_file_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DEEPSEEK_API_KEY={SECRET}\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().api_key is None


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings().model = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('modle = "x"\n', "'modle'"),
        ("[recipes]\nx = 1\n", "'recipes'"),
        ("timeout = -1\n", "timeout=-1"),
        ('timeout = "soon"\n', "timeout='soon'"),
        ('backend = "cloud"\n', "backend='cloud'"),
        ('base_url = "localhost:8000"\n', "base_url='localhost:8000'"),
        ('base_url = "https://user:pw@host/v1"\n', "base_url="),
        ("max_retries = 1000\n", "max_retries=1000"),
        ('model = ""\n', "model=''"),
        ("model = \n", "not valid TOML"),
    ],
)
def test_a_bad_file_names_the_key_and_the_file(text: str, named: str) -> None:
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert named in str(caught.value)
    assert caught.value.help_message
    assert str(path) in str(caught.value) + caught.value.help_message


def test_keys_in_the_file_are_refused_without_being_shown() -> None:
    write(f'api_key = "{SECRET}"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert SECRET not in str(caught.value) + caught.value.help_message
    assert "DEEPSEEK_API_KEY" in caught.value.help_message


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_TIMEOUT", "never")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "DEEPSEEK_APPS_TIMEOUT" in caught.value.help_message
    assert caught.value.exit_code == 2


def test_an_unknown_argument_is_named_with_a_suggestion() -> None:
    with pytest.raises(SettingsError, match="'modle'") as caught:
        load_settings(modle="x")
    assert "'model'" in caught.value.help_message


def test_describe_and_repr_mask_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", SECRET)
    monkeypatch.setenv("DEEPSEEK_APPS_SERVER_API_KEY", "short")
    settings = load_settings()
    shown = describe(settings)
    assert (shown["api_key"], shown["server_api_key"], shown["model"]) == ("****cdef", "****", "not set")
    assert SECRET not in repr(settings)
    assert list(shown) == list(Settings.model_fields)


def test_saving_keeps_comments_order_and_other_keys() -> None:
    path = write('# mine\nmodel = "a"  # old\n\ntimeout = 5 # seconds\n')
    save_setting("model", "b")
    save_setting("max_retries", "3")
    assert path.read_text() == '# mine\nmodel = "b"\n\ntimeout = 5 # seconds\nmax_retries = 3\n'
    assert (load_settings().model, load_settings().max_retries) == ("b", 3)


def test_saving_makes_the_folder_and_keeps_a_files_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "er" / "config.toml"
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", str(path))
    assert save_setting("model", "a") == path
    path.chmod(0o640)
    save_setting("model", "b")
    assert path.stat().st_mode & 0o777 == 0o640


def test_saving_through_a_symlink_keeps_the_link(tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.toml"
    target.write_text("timeout = 5\n")
    config_path().symlink_to(target)
    save_setting("timeout", 7)
    assert config_path().is_symlink()
    assert target.read_text() == "timeout = 7.0\n"


@pytest.mark.parametrize(
    ("key", "value"),
    [("zzz", 1), ("api_key", SECRET), ("server_api_key", SECRET), ("timeout", "x"), ("backend", "cloud")],
)
def test_saving_refuses_unknown_keys_secrets_and_bad_values(key: str, value: str | int) -> None:
    path = write("timeout = 5\n")
    with pytest.raises(SettingsError) as caught:
        save_setting(key, value)
    assert key in str(caught.value)
    assert SECRET not in str(caught.value)
    assert path.read_text() == "timeout = 5\n"


def test_a_bad_value_in_the_file_can_be_repaired_by_saving() -> None:
    path = write("timeout = -5\n")
    save_setting("timeout", 5)
    assert path.read_text() == "timeout = 5.0\n"


def test_an_unwritable_folder_is_a_settings_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", str(tmp_path / "file" / "config.toml"))
    with pytest.raises(SettingsError, match="cannot"):
        save_setting("model", "a")
