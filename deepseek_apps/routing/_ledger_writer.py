"""The process's one open ledger: shared by all clients and threads, opened late, reopened after a fork.

A ledger that cannot be written never breaks a call: it is said once, in the log.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from deepseek_apps.routing.ledger import CallRecord, Ledger, LedgerError, ledger_path

__all__ = ["LedgerWriter", "shared_writer"]

logger = logging.getLogger(__name__)


class LedgerWriter:
    """Writes to whichever file is the ledger now; keeps it open between calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ledger: Ledger | None = None
        # Kept from being closed: that would drop the locks of the process that opened it.
        self._abandoned: Ledger | None = None
        self._warned = False

    def add(self, record: CallRecord, *, reservation: int | None = None) -> None:
        """Write down a call; a failure is logged, once."""
        try:
            with self._open() as ledger:
                ledger.add(record, reservation=reservation)
        except LedgerError as error:
            if not self._warned:
                self._warned = True
                logger.warning("calls are not recorded: %s", error)

    def reserve(self, amount: Decimal, *, budget: Decimal, since: float) -> int:
        """Set an amount aside; see `Ledger.reserve`.

        Raises:
            BudgetExceededError: The budget does not leave that much.
            LedgerError: Nobody knows what it leaves.
        """
        with self._open() as ledger:
            return ledger.reserve(amount, budget=budget, since=since)

    def release(self, reservation: int) -> None:
        """Give back what was set aside; what a failure leaves there ends with this process."""
        try:
            with self._open() as ledger:
                ledger.release(reservation)
        except LedgerError as error:
            logger.warning("a reservation was not given back: %s", error)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            self._drop()

    def forget(self) -> None:
        """Let go of everything without touching the file; for the child of a fork."""
        self._abandoned, self._ledger = self._ledger, None
        self._lock = threading.Lock()

    @contextmanager
    def _open(self) -> Iterator[Ledger]:
        path = ledger_path()
        with self._lock:
            if self._ledger is None or self._ledger.path != path:
                self._drop()
                self._ledger = Ledger(path)
            try:
                yield self._ledger
            except LedgerError:
                # It may have been deleted or replaced: begin afresh next time.
                self._drop()
                raise

    def _drop(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
        self._ledger = None


_WRITER = LedgerWriter()
# A child of fork() must neither inherit a held lock nor touch its parent's connection.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WRITER.forget)
atexit.register(_WRITER.close)


def shared_writer() -> LedgerWriter:
    """Return this process's writer."""
    return _WRITER
