"""Pulls in real child processes: killed, interrupted, and two at once."""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from local_backend.errors import PullLockedError
from local_backend.store.catalog import remove
from local_backend.store.partial import resumable_bytes
from local_backend.store.progress import PullProgress
from local_backend.store.pull import pull

MIB = 1 << 20
CHILD = "import pickle, sys; from local_backend.store.pull import pull; pull(pickle.load(sys.stdin.buffer))"


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


@pytest.fixture
def child(row) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a process that pulls the row."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", CHILD], stdin=-1, stdout=-1, stderr=-1)
        process.stdin.write(pickle.dumps(row))
        process.stdin.close()
        process.stdin = None
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_kill_minus_9_then_resume(hub, row, data, cache, child) -> None:
    hub.stall_at = 30 * MIB
    process = child()
    journal = cache / "models" / "tiny" / "tiny.gguf.part.json"
    until(journal.exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cache / "models" / "tiny" / "tiny.gguf").exists()
    hub.stall_at = None
    assert pull(row).read_bytes() == data
    assert hub.starts[1] >= 16 * MIB


def test_ctrl_c_keeps_what_arrived(hub, row, data, cache, child) -> None:
    hub.stall_at = 5 * MIB
    process = child()
    part = cache / "models" / "tiny" / "tiny.gguf.part"
    until(lambda: part.exists() and part.stat().st_size == 5 * MIB)
    process.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate()[1]
    assert resumable_bytes(part.with_suffix(""), sha256=row.sha256) == 5 * MIB


def test_ctrl_c_ends_pip_and_clears_its_files(cache, child, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, never answers
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        process = child()
        until(lambda: len(psutil.Process(process.pid).children()) == 2)
        pips = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate()[1]
    assert not any(pip.is_running() for pip in pips)
    assert list((cache / "models" / "tiny").iterdir()) == []


def test_a_second_process_waits_and_finds_the_file(hub, row, data, cache, child) -> None:
    hub.stall_at = 5 * MIB
    process = child()
    until(lambda: bool(hub.starts))
    events: list[PullProgress] = []
    threading.Timer(0.5, hub.go_on.set).start()
    assert pull(row, progress=events.append).read_bytes() == data
    assert process.wait() == 0
    assert hub.starts == [0]
    assert events[0].phase == "wait"
    assert "another process is pulling" in events[0].note


def test_a_second_process_may_refuse_to_wait(hub, row, cache, child, monkeypatch) -> None:
    hub.stall_at = 5 * MIB
    child()
    until(lambda: bool(hub.starts))
    with pytest.raises(PullLockedError, match="tiny"):
        pull(row, wait=False)
    monkeypatch.setattr("local_backend.store.catalog.find", lambda name: row)
    with pytest.raises(PullLockedError):
        remove("tiny")


def test_a_waiting_process_takes_over_from_a_killed_one(hub, row, data, child) -> None:
    hub.stall_at = 5 * MIB
    process = child()
    until(lambda: bool(hub.starts))
    hub.stall_at = None
    threading.Timer(0.5, process.kill).start()
    assert pull(row).read_bytes() == data
    assert len(hub.starts) == 2
