"""Where the server listens, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_engine import ScriptedEngine
from server_client import handler_for

from local_backend.errors import ConfigError
from local_backend.server.launch import bind, is_loopback, serve

_SERVE = """
from scripted_engine import ScriptedEngine
from server_client import handler_for
from local_backend.server.launch import bind, serve
listener = bind("127.0.0.1", 0)
print(listener.getsockname()[1], flush=True)
serve(handler_for(ScriptedEngine()), listener=listener)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_only_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_open_to_others(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2"])
def test_open_to_the_network_needs_a_key(host):
    with pytest.raises(ConfigError, match="no API key") as caught:
        serve(handler_for(ScriptedEngine()), host=host)
    assert "API key" in caught.value.help_message


@pytest.mark.parametrize("port", [-1, 70_000])
def test_impossible_port(port):
    with pytest.raises(ConfigError, match="cannot listen"):
        bind("127.0.0.1", port)


def test_port_in_use():
    with bind("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(ConfigError, match="cannot listen"):
            bind("127.0.0.1", first.getsockname()[1])


def test_serves_until_a_signal():
    paths = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    try:
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert b"200 OK" in sock.recv(4096)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()
