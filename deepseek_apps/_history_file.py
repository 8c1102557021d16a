"""The SQLite file behind `history`: opening, schema, transactions and the errors they raise. No queries."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepseek_apps.errors import DeepSeekAppsError

__all__ = ["HistoryError", "HistoryFile"]

SCHEMA_VERSION = 1
BUSY_SECONDS = 10.0
SCHEMA = """
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, created_at REAL NOT NULL, updated_at REAL NOT NULL,
    title TEXT NOT NULL, system TEXT NOT NULL
);
CREATE TABLE turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
    created_at REAL NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, reasoning_content TEXT NOT NULL,
    partial INTEGER NOT NULL, model TEXT NOT NULL, backend TEXT NOT NULL
);
CREATE INDEX turns_by_conversation ON turns(conversation_id, id);
CREATE INDEX conversations_by_use ON conversations(updated_at);
"""


class HistoryError(DeepSeekAppsError):
    """The history file cannot be read or written."""


class HistoryFile:
    """A private SQLite file in WAL mode, safe for several processes.

    Args:
        path: The file; created, with its directory, when absent.

    Raises:
        HistoryError: It cannot be opened, is no history, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.errors():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Chats are private: make the file ourselves, since SQLite would follow the umask.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file; idempotent."""
        self._db.close()

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Run a query and return all its rows."""
        with self.errors():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock; commit at the end, roll back on any error."""
        with self.errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the system and SQLite raise into HistoryError."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise HistoryError(
                f"cannot use the chat history {self.path}: {error}",
                help_message="Check its permissions and the free space, or move it away to start afresh.",
            ) from error

    def _prepare(self) -> None:
        self._enable_wal()
        self._db.execute("PRAGMA foreign_keys = ON")
        with self.transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise HistoryError(
                    f"{self.path} has schema version {version}, this program knows {SCHEMA_VERSION}",
                    help_message="Upgrade deepseek-apps, or move the file away to start afresh.",
                )
            if version == 0:
                for statement in filter(str.strip, SCHEMA.split(";")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _enable_wal(self) -> None:
        # Switching a fresh file to WAL takes an exclusive lock and ignores the busy timeout.
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return
