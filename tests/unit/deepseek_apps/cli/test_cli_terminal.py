"""`chat` and `models rm` at a real (pseudo) terminal: prompts, Ctrl-C, Ctrl-D, dimmed reasoning."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scripted_server import Reply, ScriptedServer, scripted_server

from deepseek_apps.history import History

pty = pytest.importorskip("pty")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


class Screen:
    """The terminal's other end: types keys and waits for text."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C once the process blocks: a signal just before that waits for the next event."""
        time.sleep(0.3)
        self.type("\x03")

    def wait_for(self, pattern: str, seconds: float = 20) -> str:
        """Read until the pattern appears after what was waited for last; return the text up to its end."""
        deadline = time.monotonic() + seconds
        while (match := re.search(pattern, self.seen)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.seen!r}"
            if select.select([self._descriptor], [], [], left)[0]:
                self.seen += os.read(self._descriptor, 65536).decode(errors="replace")
        text, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return text


@contextmanager
def terminal(*arguments: str) -> Iterator[tuple[Screen, subprocess.Popen[bytes]]]:
    """Run the command in a session of its own whose controlling terminal is a new pty."""
    ours, theirs = pty.openpty()
    script = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    script += "from deepseek_apps.cli.main import main; sys.exit(main())"
    environment = os.environ | {"TERM": "xterm", "PYTHONUNBUFFERED": "1"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Screen(ours), process
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_person_chats_and_leaves_with_ctrl_d(server) -> None:
    server.replies = [Reply(content=["你好。"], reasoning=["hm"])]
    with terminal("chat", "--base-url", server.url) as (screen, process):
        screen.wait_for("Ctrl-D leaves")
        screen.wait_for("> ")
        screen.type("你好\r")
        shown = screen.wait_for("你好。")
        assert "\x1b[2mhm\x1b[22m" in shown
        screen.wait_for("> ")
        screen.type("\x04")
        assert process.wait(10) == 0


def test_ctrl_c_stops_the_answer_not_the_chat(server) -> None:
    server.replies = [Reply(content=["half"], hang=True), Reply(content=["whole"])]
    with terminal("chat", "--base-url", server.url) as (screen, process):
        screen.wait_for("> ")
        screen.type("question\r")
        screen.wait_for("half")
        screen.interrupt()
        screen.wait_for("/retry asks again")
        assert server.client_left.wait(5)
        with History() as history:
            assert history.turns(history.latest())[0].partial
        screen.wait_for("> ")
        screen.type("/retry\r")
        screen.wait_for("whole")
        screen.type("/exit\r")
        assert process.wait(10) == 0
    with History() as history:
        assert [turn.answer for turn in history.turns(history.latest())] == ["whole"]


def test_ctrl_c_at_the_prompt_and_errors_let_the_chat_go_on(server) -> None:
    server.replies = [Reply(status=400, error="bad thing")]
    with terminal("chat", "--base-url", server.url) as (screen, process):
        screen.wait_for("> ")
        screen.interrupt()
        screen.wait_for("/exit leaves")
        screen.wait_for("> ")
        screen.type("one \\\rtwo\r")
        screen.wait_for("bad thing")
        assert server.requests[0]["messages"][0]["content"] == "one \ntwo"
        screen.wait_for("> ")
        screen.type("/exit\r")
        assert process.wait(10) == 0
