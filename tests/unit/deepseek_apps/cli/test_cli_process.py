"""The command as a real process: interrupts, closed pipes, start-up cost, colours, the entry points."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from scripted_server import Reply, ScriptedServer, scripted_server

COMMAND = [sys.executable, "-m", "deepseek_apps"]
HEAVY = {"torch", "openai", "pydantic", "httpx2", "local_backend", "sqlite3", "langchain_core"}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


def start(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_help_loads_nothing_heavy_and_starts_fast() -> None:
    code = (
        "import sys, json\nfrom deepseek_apps.cli.main import main\nmain(['--help'])\n"
        "json.dump(sorted(sys.modules), sys.stderr)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    # The bar is 0.3 s on an idle machine; tests share theirs.
    assert time.monotonic() - started < 3
    assert not HEAVY & set(json.loads(done.stderr))


def test_ctrl_c_keeps_what_was_printed_and_ends_with_130(server) -> None:
    server.replies = [Reply(content=["half an ", "answer"], hang=True)]
    process = start("ask", "hi", "--base-url", server.url)
    assert process.stdout is not None
    assert process.stdout.read(14) == b"half an answer"
    time.sleep(0.3)  # until it blocks: a signal just before that waits for the next event
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, b"\n", b"")
    assert server.client_left.wait(5)


def test_a_reader_that_goes_away_ends_the_answer_quietly(server) -> None:
    server.replies = [Reply(content=["line\n"] * 5000)]
    process = start("ask", "hi", "--base-url", server.url)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(10) == 1


def test_undecodable_arguments_are_named() -> None:
    code, _, err = finish(start("ask", "abc\udcff"))
    assert code == 2
    assert b"PROMPT is not valid text: undecodable byte 0xff at character 3" in err


@pytest.mark.parametrize(("arguments", "colour"), [((), True), (("--no-color",), False)])
def test_colours_can_be_turned_off(arguments, colour) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    command = [*COMMAND, *arguments, "ask", ""]
    done = subprocess.run(command, capture_output=True, env=environment, input=b"", check=False)
    assert (b"\x1b[1;31merror:" in done.stderr) is colour
    assert b"there is no prompt" in done.stderr


def test_the_installed_script_is_the_same_command() -> None:
    script = f"{sys.prefix}/bin/deepseek-apps"
    done = subprocess.run([script, "--version"], capture_output=True, check=True)
    assert done.stdout.startswith(b"deepseek-apps ")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("deepseek-apps ask --backend ", "hosted"),
        ("deepseek-apps ask --model start", "starter-small"),
        ("deepseek-apps models pull ", "starter"),
        ("deepseek-apps config set ba", "base_url"),
        ("deepseek-apps mod", "models"),
    ],
)
def test_the_shell_completes(words, offered) -> None:
    environment = {
        "_DEEPSEEK_APPS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - (not words.endswith(" "))),
    }
    code, out, err = finish(start(**environment))
    assert (code, err) == (0, b"")
    assert offered in out.decode().split()
