"""`doctor` and `config`: what they report, what they never show, and how they end."""

from __future__ import annotations

import json

import pytest
from scripted_server import scripted_server

from local_backend.kernels import native_library

SECRET = "sk-0123456789abcdef"


def report(cli, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    result = cli("doctor", "--json", *arguments)
    return result.code, {check["name"]: check for check in json.loads(result.out)}


def test_a_machine_without_the_model_fails_and_says_what_to_do(cli) -> None:
    code, checks = report(cli)
    assert code == 1
    assert checks["backend"]["detail"] == "local"
    assert checks["model"]["status"] == "fail"
    assert "deepseek-apps models pull starter" in checks["model"]["next_step"]
    assert checks["answer"]["status"] == "skip"


def test_a_server_user_needs_no_model(cli) -> None:
    with scripted_server() as server:
        code, checks = report(cli, "--base-url", server.url)
    assert code == 0
    assert checks["model"]["status"] == "warn"
    assert checks["answer"]["detail"].startswith("'Hello.' from server scripted in")


def test_a_server_that_does_not_answer_fails(cli, monkeypatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_MAX_RETRIES", "0")
    code, checks = report(cli, "--base-url", "http://127.0.0.1:9/v1")
    assert (code, checks["answer"]["status"]) == (1, "fail")


@pytest.mark.skipif(not native_library.LIBRARY_PATH.exists(), reason="the CPU kernels are not built")
def test_the_kernels_in_use_are_named(cli) -> None:
    _, checks = report(cli, "--no-generate")
    assert checks["cpu kernels"]["status"] == "ok"
    assert checks["cpu kernels"]["detail"].endswith("portable")


def test_kernels_that_cannot_be_used_are_a_warning(cli, monkeypatch) -> None:
    monkeypatch.setattr(native_library, "ABI_VERSION", 999)
    _, checks = report(cli, "--no-generate")
    assert checks["cpu kernels"]["status"] == "warn"
    assert "pip install" in checks["cpu kernels"]["next_step"]


def test_no_generate_asks_nothing(cli) -> None:
    with scripted_server() as server:
        assert report(cli, "--base-url", server.url, "--no-generate")[0] == 0
    assert server.requests == []


def test_the_key_is_never_shown(cli, monkeypatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", SECRET)
    shown = (
        cli("doctor", "--no-generate").out + cli("config", "show").out + cli("config", "show", "--json").out
    )
    assert "DEEPSEEK_API_KEY is set" in shown
    assert SECRET not in shown


def test_a_broken_config_file_is_a_failed_check(cli, tmp_path) -> None:
    (tmp_path / "config.toml").write_text("backend = [")
    result = cli("doctor", "--no-generate")
    assert result.code == 1
    assert "not valid TOML" in result.out


def test_config_set_is_seen_by_show(cli, tmp_path) -> None:
    assert cli("config", "set", "backend", "local").code == 0
    assert json.loads(cli("config", "show", "--json").out)["backend"] == "local"
    assert cli("config", "path").out.strip() == str(tmp_path / "config.toml")


@pytest.mark.parametrize(("key", "value"), [("backend", "cloud"), ("colour", "red"), ("api_key", SECRET)])
def test_config_refuses_what_it_cannot_use(cli, tmp_path, key, value) -> None:
    result = cli("config", "set", key, value)
    assert result.code == 2
    assert SECRET not in result.err
    assert not (tmp_path / "config.toml").exists()
