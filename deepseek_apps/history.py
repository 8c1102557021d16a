"""Chat history: conversations and their turns in one SQLite file under the user's state directory.

A turn (question and answer) is one row, written in one transaction when it is over, so a crash leaves whole
turns only. Several processes may read and write at once. This module neither prints nor calls a model.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from deepseek_apps._history_file import HistoryError, HistoryFile
from deepseek_apps._state import state_dir

__all__ = ["Conversation", "ConversationNotFoundError", "History", "HistoryError", "Turn", "state_dir"]

TITLE_LENGTH = 60


class ConversationNotFoundError(HistoryError):
    """No stored conversation, or not exactly one, has the id that was asked for."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question and its answer.

    Attributes:
        question: What the user wrote.
        answer: What the model answered; the part that arrived when partial is set.
        reasoning_content: The model's thinking, sent back with its answer on later turns.
        partial: Whether the answer was interrupted.
        model: Model that answered, as reported on the wire.
        backend: Backend that answered.
        id: Row id; None until stored.
        created_at: Unix time in seconds.
    """

    question: str
    answer: str
    reasoning_content: str = ""
    partial: bool = False
    model: str = ""
    backend: str = ""
    id: int | None = None
    created_at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A chat: its id, title and system prompt. It is stored with its first turn.

    Attributes:
        id: Eight hexadecimal digits; any unambiguous prefix finds it.
        title: Start of the first question.
        system: System prompt, empty for none.
        created_at: Unix time in seconds.
        updated_at: Time of the latest turn.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(4))
    title: str = ""
    system: str = ""
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)


class History:
    """Stored conversations; close it, or use it as a context manager.

    Args:
        path: The SQLite file, created when absent. None is `state_dir() / "history.db"`.

    Raises:
        HistoryError: The file cannot be opened, is no history, or was written by a newer version.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = HistoryFile(path or state_dir() / "history.db")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def add_turn(
        self, conversation: Conversation, turn: Turn, *, replaces: Turn | None = None
    ) -> tuple[Conversation, Turn]:
        """Store a turn, and the conversation when it is the first one, in one transaction.

        Args:
            conversation: Where the turn belongs.
            turn: What to store.
            replaces: A stored turn that this one takes the place of.

        Returns:
            Both as stored: the title and the time of use set, the turn with its id.
        """
        title = conversation.title or " ".join(turn.question.split())[:TITLE_LENGTH]
        stored = replace(conversation, title=title, updated_at=time.time())
        with self._file.transaction() as db:
            if replaces is not None:
                db.execute("DELETE FROM turns WHERE id = ?", (replaces.id,))
            db.execute(
                "INSERT INTO conversations (id, title, system, created_at, updated_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT(id) DO UPDATE SET updated_at = excluded.updated_at, system = excluded.system",
                (stored.id, stored.title, stored.system, stored.created_at, stored.updated_at),
            )
            cursor = db.execute(
                "INSERT INTO turns (conversation_id, question, answer, reasoning_content, partial, model,"
                " backend, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (stored.id, *_turn_values(turn)),
            )
        return stored, replace(turn, id=cursor.lastrowid)

    def turns(self, conversation: Conversation) -> list[Turn]:
        """Return the turns of a conversation, oldest first."""
        rows = self._file.rows(
            "SELECT question, answer, reasoning_content, partial, model, backend, id, created_at"
            " FROM turns WHERE conversation_id = ? ORDER BY id",
            (conversation.id,),
        )
        return [_turn(row) for row in rows]

    def recent(self, limit: int = 20) -> list[Conversation]:
        """Return the conversations used last, newest first."""
        return self._conversations("ORDER BY updated_at DESC, rowid DESC LIMIT ?", (limit,))

    def latest(self) -> Conversation:
        """Return the conversation used last.

        Raises:
            ConversationNotFoundError: Nothing is stored yet.
        """
        if found := self.recent(limit=1):
            return found[0]
        raise ConversationNotFoundError(
            "there is no conversation to continue", help_message="Start one with: deepseek-apps chat"
        )

    def find(self, prefix: str) -> Conversation:
        """Return the one conversation whose id starts with prefix.

        Raises:
            ConversationNotFoundError: None does, or several do.
        """
        found = self._conversations("WHERE substr(id, 1, ?) = ? LIMIT 2", (len(prefix), prefix))
        if prefix and len(found) == 1:
            return found[0]
        problem = "several conversations start with" if prefix and found else "no conversation has"
        raise ConversationNotFoundError(
            f"{problem} the id {prefix!r}", help_message="List them with: deepseek-apps chat --list"
        )

    def _conversations(self, clause: str, values: tuple[object, ...]) -> list[Conversation]:
        columns = "id, title, system, created_at, updated_at"
        rows = self._file.rows(f"SELECT {columns} FROM conversations {clause}", values)  # noqa: S608  our text
        return [_conversation(row) for row in rows]


def _conversation(row: tuple[object, ...]) -> Conversation:
    id_, title, system, created_at, updated_at = cast("tuple[str, str, str, float, float]", row)
    return Conversation(id=id_, title=title, system=system, created_at=created_at, updated_at=updated_at)


def _turn_values(turn: Turn) -> tuple[object, ...]:
    texts = (turn.question, turn.answer, turn.reasoning_content)
    return (*texts, int(turn.partial), turn.model, turn.backend, turn.created_at)


def _turn(row: tuple[object, ...]) -> Turn:
    columns = cast("tuple[str, str, str, int, str, str, int, float]", row)
    question, answer, reasoning_content, partial, model, backend, id_, created_at = columns
    return Turn(
        question=question,
        answer=answer,
        reasoning_content=reasoning_content,
        partial=bool(partial),
        model=model,
        backend=backend,
        id=id_,
        created_at=created_at,
    )
