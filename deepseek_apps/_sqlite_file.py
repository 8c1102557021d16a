"""A private SQLite file that several processes use at once: opening, schema, transactions, errors.

It is in WAL mode: readers and the one writer do not wait for each other.

Knows no table; the chat history and the ledger say what is in theirs.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from deepseek_apps.errors import DeepSeekAppsError

__all__ = ["SqliteFile"]


class SqliteFile:
    """The file. A subclass says what is in it.

    Args:
        path: The file; created, with its directory, when absent.

    Raises:
        DeepSeekAppsError: The subclass's `error`: it cannot be opened, is something else, or was written by a
            newer version.
    """

    what: ClassVar[str]
    schema: ClassVar[str]
    schema_version: ClassVar[int]
    error: ClassVar[type[DeepSeekAppsError]]
    # How long to wait for another process's transaction, in seconds.
    busy_seconds: ClassVar[float] = 10.0
    # FULL survives a power cut, NORMAL only the death of processes; it is ten times as fast.
    synchronous: ClassVar[str] = "FULL"

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.errors():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # It is private: make the file ourselves, since SQLite would follow the umask.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            # Whoever shares one between threads locks it; the module's own check would only forbid that.
            self._db = sqlite3.connect(
                path, timeout=self.busy_seconds, isolation_level=None, check_same_thread=False
            )
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

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> None:
        """Run one statement as a transaction of its own."""
        with self.errors():
            self._db.execute(statement, values)

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
        """Turn what the system and SQLite raise into the error of this kind of file."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise self.error(
                f"cannot use the {self.what} {self.path}: {error}",
                help_message="Check its permissions and the free space, or move it away to start afresh.",
            ) from error

    def _prepare(self) -> None:
        self._enable_wal()
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute(f"PRAGMA synchronous = {self.synchronous}")
        with self.transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > self.schema_version:
                raise self.error(
                    f"{self.path} has schema version {version}, this program knows {self.schema_version}",
                    help_message="Upgrade deepseek-apps, or move the file away to start afresh.",
                )
            if version == 0:
                for statement in filter(str.strip, self.schema.split(";")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {self.schema_version}")

    def _enable_wal(self) -> None:
        # Switching a fresh file to WAL takes an exclusive lock and ignores the busy timeout.
        deadline = time.monotonic() + self.busy_seconds
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return
