"""`ask --backend` with policies and named servers, and what it says when another backend answered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_deepseek import FakeDeepSeek
from routes import closed_port

from deepseek_apps.cli.options import complete_backend


def configure(**servers: str) -> None:
    tables = [
        f'[servers.{name}]\nbase_url = "{url}"\nmodel = "{name}-model"\n' for name, url in servers.items()
    ]
    Path(os.environ["DEEPSEEK_APPS_CONFIG"]).write_text("".join(tables), encoding="utf-8")


@pytest.mark.parametrize("backend", ["server:gpu", "cheapest", "private", "auto", "server"])
def test_a_server_of_the_config_file_answers(cli, fake: FakeDeepSeek, backend: str) -> None:
    configure(gpu=fake.url)
    result = cli("ask", "hi", "--backend", backend, "--usage")
    assert (result.code, result.out) == (0, "Hello.\n")
    assert fake.asked[-1].body["model"] == "gpu-model"


def test_the_note_says_who_answered_in_whose_place(cli, fake: FakeDeepSeek) -> None:
    configure(off=closed_port(), gpu=fake.url)
    result = cli("ask", "hi", "--backend", "auto")
    assert result.out == "Hello.\n"
    assert "server:gpu http://127.0.0.1" in result.err
    assert "answered, after server:off http://127.0.0.1" in result.err
    assert "no connection" in result.err


def test_an_unknown_server_is_named_with_the_known_ones(cli, fake: FakeDeepSeek) -> None:
    configure(gpu=fake.url)
    result = cli("ask", "hi", "--backend", "server:gpx")
    assert result.code == 2
    assert "unknown server 'gpx'" in result.err
    assert "server:gpu" in result.err


def test_an_unknown_backend_is_a_mistake_of_the_caller(cli) -> None:
    result = cli("ask", "hi", "--backend", "cloud")
    assert result.code == 2
    assert "cheapest" in result.err


def test_completion_knows_the_config_files_servers(fake: FakeDeepSeek) -> None:
    configure(gpu=fake.url)
    assert complete_backend("se") == ["server", "server:gpu"]
    assert complete_backend("p") == ["private"]
    Path(os.environ["DEEPSEEK_APPS_CONFIG"]).write_text("nonsense", encoding="utf-8")
    assert complete_backend("ch") == ["cheapest"]


def test_config_show_lists_servers(cli, fake: FakeDeepSeek) -> None:
    configure(gpu=fake.url)
    assert f"gpu: {fake.url}, model gpu-model" in cli("config", "show").out.replace("\n", " ")
