"""The ledger: one row for every call that ended, with its token counts, its cost and who answered. No texts.

One SQLite file for all processes of a user. Amounts are kept as whole picodollars and picoyuan (1e-12), so
that sums are exact. Rows survive the death of any process the moment they are written.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import astuple, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Literal, Self, TypeAlias

from deepseek_apps._sqlite_file import SqliteFile
from deepseek_apps._state import state_dir
from deepseek_apps.errors import DeepSeekAppsError
from deepseek_apps.routing.run import exceeded

__all__ = ["CallRecord", "Ledger", "LedgerError", "Outcome", "from_pico", "ledger_path", "to_pico"]

# ok: complete. failed: refused, or an error in place of an answer. cut: the connection broke. abandoned: the
# caller stopped reading, and the counts are estimates.
Outcome: TypeAlias = Literal["ok", "failed", "cut", "abandoned"]
PICO = Decimal(10) ** 12
# A process that died in a call leaves its reservation; on another host only time tells.
RESERVATION_SECONDS = 3600.0


class LedgerError(DeepSeekAppsError):
    """The ledger cannot be read or written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call.

    Attributes:
        at: When it was sent, Unix time in seconds.
        backend: hosted, local, server or server:NAME.
        server: Host and port of the server that answered; empty for the other backends.
        model: Model that answered, else the one asked for.
        path: What was called, such as /chat/completions.
        route: Who answered and why, if a choice was made.
        recipe, run: See `deepseek_apps.run`.
        prompt, hit, output, reasoning: Tokens: of the prompt, those of it that were cached, generated, and
            the thinking among those.
        usd, cny: Cost in picodollars and picoyuan; None where the price is not known.
        saved_cache_usd, saved_cache_cny: What the cache saved.
        saved_hours_usd, saved_hours_cny: What the hour saved against a peak hour.
        estimated: Whether counts or price are estimates.
        status: HTTP status; 0 when there was no answer.
        outcome: How it ended.
        seconds: From sending the request to the end of the answer.
        first_seconds: To the first event of a stream, or to a whole answer; None if nothing came.
        streamed: Whether the answer came in pieces.
    """

    at: float
    backend: str
    server: str = ""
    model: str = ""
    path: str = ""
    route: str = ""
    recipe: str = ""
    run: str = ""
    prompt: int = 0
    hit: int = 0
    output: int = 0
    reasoning: int = 0
    usd: int | None = None
    cny: int | None = None
    saved_cache_usd: int = 0
    saved_cache_cny: int = 0
    saved_hours_usd: int = 0
    saved_hours_cny: int = 0
    estimated: bool = False
    status: int = 0
    outcome: Outcome = "ok"
    seconds: float = 0.0
    first_seconds: float | None = None
    streamed: bool = False


COLUMNS = ", ".join(column.name for column in fields(CallRecord))
INSERT = f"INSERT INTO calls ({COLUMNS}) VALUES ({', '.join('?' * len(fields(CallRecord)))})"  # noqa: S608


class LedgerFile(SqliteFile):
    """Calls that ended, and what is set aside for calls under way.

    Raises:
        LedgerError: It cannot be opened, is no ledger, or was written by a newer version.
    """

    what = "ledger"
    error = LedgerError
    busy_seconds = 2.0
    synchronous = "NORMAL"
    schema_version = 1
    schema = """
CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL, backend TEXT NOT NULL, server TEXT NOT NULL, model TEXT NOT NULL, path TEXT NOT NULL,
    route TEXT NOT NULL, recipe TEXT NOT NULL, run TEXT NOT NULL,
    prompt INTEGER NOT NULL, hit INTEGER NOT NULL, output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
    usd INTEGER, cny INTEGER, saved_cache_usd INTEGER NOT NULL, saved_cache_cny INTEGER NOT NULL,
    saved_hours_usd INTEGER NOT NULL, saved_hours_cny INTEGER NOT NULL, estimated INTEGER NOT NULL,
    status INTEGER NOT NULL, outcome TEXT NOT NULL, seconds REAL NOT NULL, first_seconds REAL,
    streamed INTEGER NOT NULL
);
CREATE INDEX calls_by_time ON calls(at, usd);
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, usd INTEGER NOT NULL
);
"""


def ledger_path() -> Path:
    """Return where the ledger is, whether or not it exists."""
    return state_dir() / "ledger.db"


def to_pico(amount: Decimal) -> int:
    """Return an amount in the unit that the ledger keeps."""
    return int((amount * PICO).to_integral_value())


def from_pico(amount: object) -> Decimal:
    """Return an amount that the ledger keeps, in dollars or yuan; nothing is 0."""
    return Decimal(amount) / PICO if isinstance(amount, int) else Decimal(0)


class Ledger:
    """The calls of all processes; close it, or use it as a context manager. Lock it to share between threads.

    Args:
        path: The SQLite file, created when absent. None is `ledger_path()`.

    Raises:
        LedgerError: The file cannot be opened, is no ledger, or was written by a newer version.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = LedgerFile(path or ledger_path())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._file.path

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def add(self, record: CallRecord, *, reservation: int | None = None) -> None:
        """Write down a call that ended, and drop what was set aside for it, in one transaction."""
        if reservation is None:
            self._file.execute(INSERT, astuple(record))
            return
        with self._file.transaction() as db:
            db.execute(INSERT, astuple(record))
            db.execute("DELETE FROM reservations WHERE id = ?", (reservation,))

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Run a query over the table `calls`."""
        return self._file.rows(query, values)

    def spent_since(self, since: float) -> Decimal:
        """Return the US dollars that calls sent at or after a Unix time cost."""
        return from_pico(self.rows("SELECT SUM(usd) FROM calls WHERE at >= ?", (since,))[0][0])

    def reserve(self, amount: Decimal, *, budget: Decimal, since: float) -> int:
        """Set an amount aside for a call, for all processes to see, until it is added or released.

        Args:
            amount: US dollars.
            budget: What calls since then, and those under way, may cost together.
            since: Unix time from which calls count.

        Returns:
            The reservation's id.

        Raises:
            BudgetExceededError: The budget does not leave that much.
        """
        with self._file.transaction() as db:
            reserved = Decimal(0)
            for id_, at, host, pid, usd in db.execute("SELECT id, at, host, pid, usd FROM reservations"):
                if _is_stale(at, host, pid):
                    db.execute("DELETE FROM reservations WHERE id = ?", (id_,))
                else:
                    reserved += from_pico(usd)
            (spent,) = db.execute("SELECT SUM(usd) FROM calls WHERE at >= ?", (since,)).fetchone()
            if from_pico(spent) + reserved + amount > budget:
                raise exceeded("today", budget, from_pico(spent), reserved, amount)
            row = (time.time(), socket.gethostname(), os.getpid(), to_pico(amount))
            inserted = db.execute("INSERT INTO reservations (at, host, pid, usd) VALUES (?, ?, ?, ?)", row)
            assert inserted.lastrowid is not None
            return inserted.lastrowid

    def release(self, reservation: int) -> None:
        """Give back what was set aside."""
        self._file.execute("DELETE FROM reservations WHERE id = ?", (reservation,))


def _is_stale(at: float, host: str, pid: int) -> bool:
    if time.time() - at > RESERVATION_SECONDS:
        return True
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
