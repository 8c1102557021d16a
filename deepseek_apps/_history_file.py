"""The SQLite file behind `history`: its tables and its error. No queries."""

from __future__ import annotations

from deepseek_apps._sqlite_file import SqliteFile
from deepseek_apps.errors import DeepSeekAppsError

__all__ = ["HistoryError", "HistoryFile"]


class HistoryError(DeepSeekAppsError):
    """The history file cannot be read or written."""


class HistoryFile(SqliteFile):
    """Conversations and their turns.

    Raises:
        HistoryError: It cannot be opened, is no history, or was written by a newer version.
    """

    what = "chat history"
    error = HistoryError
    schema_version = 1
    schema = """
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
