"""The command line over the embedded engine and the real small model, as real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "deepseek_apps"]
SECONDS = 120


@pytest.fixture(autouse=True)
def small_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, starter_small_gguf: Path) -> None:
    for name in ("DEEPSEEK_API_KEY", "DEEPSEEK_APPS_BASE_URL", "DEEPSEEK_APPS_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("DEEPSEEK_APPS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DEEPSEEK_APPS_MODEL", "starter-small")


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_an_answer_comes_from_this_machine() -> None:
    done = run("ask", "What is the capital of France? One word.", "--json", "-t", "0", "--max-tokens", "20")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert "Paris" in answer["content"]
    assert (answer["backend"], answer["model"], answer["finish_reason"]) == ("local", "starter-small", "stop")


def test_ten_megabytes_overflow_the_context() -> None:
    done = run("ask", "Count the words.", stdin="word " * 2_000_000)
    assert (done.returncode, done.stdout) == (5, "")
    assert "maximum context length" in done.stderr


def test_a_chat_reuses_the_prefix_it_has_computed() -> None:
    done = run("chat", "-t", "0", "--max-tokens", "20", "-u", stdin="My name is Bob.\nWhat is my name?\n")
    assert done.returncode == 0
    assert "Bob" in done.stdout.splitlines()[-1]
    hits = [int(count) for count in re.findall(r"\((\d+) cached\)", done.stderr)]
    assert hits[1] > hits[0]  # the first finds at most the opening that every conversation shares


def test_ctrl_c_stops_a_generation() -> None:
    process = subprocess.Popen(
        [*COMMAND, "ask", "Count from 1 to 1000.", "-t", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (130, b"")
    assert (first + out).endswith(b"\n")


@pytest.fixture
def served() -> Iterator[str]:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--api-key", "secret"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    yield line.split()[-1]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)


def test_one_process_asks_what_another_serves(served, monkeypatch) -> None:
    assert run("ask", "hi", "--base-url", served).returncode == 3
    monkeypatch.setitem(os.environ, "DEEPSEEK_APPS_SERVER_API_KEY", "secret")
    done = run("ask", "Say hi.", "--base-url", served, "-t", "0", "--max-tokens", "8")
    assert done.returncode == 0
    assert done.stdout.strip()
