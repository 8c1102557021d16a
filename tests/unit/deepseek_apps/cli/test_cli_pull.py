"""`models pull` interrupted while bytes come from a loopback hub: exit code, advice, a partial to resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMAND = [sys.executable, "-m", "deepseek_apps", "models"]


class Hub(BaseHTTPRequestHandler):
    """Sends the first megabytes of a file that never ends."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "491400064")
        self.end_headers()
        self.wfile.write(bytes(60_000_000))
        self.server.sent.set()
        self.server.stop.wait(30)


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.sent, server.stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.stop.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_interrupted_pull_says_how_to_go_on(hub) -> None:
    environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}"}
    process = subprocess.Popen(
        [*COMMAND, "pull", "starter-small", "--source", "hub"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert hub.sent.wait(20)
    assert any("10 % of 491 MB" in line for line in process.stderr)  # blocks until the line is there
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "run again to resume: deepseek-apps models pull starter-small" in err
    listed = subprocess.run([*COMMAND, "list", "--json"], capture_output=True, check=True).stdout
    assert [row["state"] for row in json.loads(listed)] == ["absent", "partial"]
