"""`serve` refuses what it must before it loads anything; tests/e2e runs it with a model."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com"])
def test_other_machines_need_a_key(cli, host) -> None:
    result = cli("serve", "--host", host)
    assert result.code == 2
    assert f"{host} can be reached from other machines" in result.err


def test_an_unknown_model_is_refused(cli) -> None:
    result = cli("serve", "--port", "0", "-m", "nonsense")
    assert result.code == 2
    assert "unknown model 'nonsense'" in result.err


def test_a_missing_model_says_how_to_get_it(cli) -> None:
    result = cli("serve", "--port", "0")
    assert result.code == 1
    assert "next: Run: deepseek-apps models pull starter" in result.err


def test_a_port_in_use_is_refused(cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cli("serve", "--port", str(port))
    assert result.code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in result.err
