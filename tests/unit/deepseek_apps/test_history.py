"""Chat history: what is stored, found and refused, and that two processes can share the file."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_apps.history import (
    Conversation,
    ConversationNotFoundError,
    History,
    HistoryError,
    Turn,
    state_dir,
)

WRITER = """
import sys
from pathlib import Path
from deepseek_apps.history import Conversation, History, Turn
with History(Path(sys.argv[1])) as history:
    for number in range(20):
        history.add_turn(Conversation(id=sys.argv[2]), Turn(question=f"q{number}", answer="a"))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "history.db"


def test_a_turn_survives_reopening(path: Path) -> None:
    turn = Turn(
        question="你好?", answer="嗨", reasoning_content="hm", partial=True, model="m", backend="local"
    )
    with History(path) as history:
        conversation, stored = history.add_turn(Conversation(system="be brief"), turn)
    with History(path) as history:
        assert history.turns(conversation) == [stored]
        assert history.latest() == conversation
        assert (conversation.title, conversation.system) == ("你好?", "be brief")


def test_nothing_is_stored_before_the_first_turn(path: Path) -> None:
    with (
        History(path) as history,
        pytest.raises(ConversationNotFoundError, match="no conversation to continue"),
    ):
        history.latest()


def test_latest_is_the_one_used_last(path: Path) -> None:
    with History(path) as history:
        first, _ = history.add_turn(Conversation(), Turn(question="1", answer=""))
        history.add_turn(Conversation(), Turn(question="2", answer=""))
        history.add_turn(first, Turn(question="3", answer=""))
        assert history.latest().id == first.id
        assert [item.title for item in history.recent()] == ["1", "2"]


def test_replacing_a_turn_keeps_one(path: Path) -> None:
    with History(path) as history:
        conversation, old = history.add_turn(Conversation(), Turn(question="q", answer="old"))
        history.add_turn(conversation, Turn(question="q", answer="new"), replaces=old)
        assert [turn.answer for turn in history.turns(conversation)] == ["new"]


def test_a_prefix_finds_one_conversation_only(path: Path) -> None:
    with History(path) as history:
        for id_ in ("aa11", "aa22", "bb33"):
            history.add_turn(Conversation(id=id_), Turn(question="q", answer="a"))
        assert history.find("b").id == "bb33"
        for prefix, problem in (("aa", "several"), ("cc", "no conversation"), ("", "no conversation")):
            with pytest.raises(ConversationNotFoundError, match=problem):
                history.find(prefix)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_the_file_is_private(path: Path) -> None:
    History(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_two_processes_lose_nothing(path: Path) -> None:
    commands = [[sys.executable, "-c", WRITER, str(path), name] for name in ("shared", "shared", "own")]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    with History(path) as history:
        assert len(history.turns(Conversation(id="shared"))) == 40
        assert len(history.turns(Conversation(id="own"))) == 20


def test_a_newer_file_is_refused(path: Path) -> None:
    History(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(HistoryError, match="schema version 99"):
        History(path)


def test_a_file_that_is_no_history_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all, but long enough to have a header" * 20)
    with pytest.raises(HistoryError, match=r"history\.db") as caught:
        History(path)
    assert "move it away" in caught.value.help_message


def test_state_dir_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_STATE_DIR", str(tmp_path))
    assert state_dir() == tmp_path
