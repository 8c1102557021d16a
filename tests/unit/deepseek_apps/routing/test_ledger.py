"""The ledger's file: many processes at once, no row lost, sums that are exact, errors that say where."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from deepseek_apps.routing._ledger_writer import LedgerWriter
from deepseek_apps.routing.ledger import CallRecord, Ledger, LedgerError, from_pico, ledger_path, to_pico
from deepseek_apps.routing.spending import Spending, spending_between, spending_by

DAY = datetime(2026, 11, 20, 12).astimezone()
WRITER = """
import sys, time
from pathlib import Path
from deepseek_apps.routing.ledger import CallRecord, Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    ledger.add(CallRecord(at=1.0, backend="hosted", prompt=number))
    print(number, flush=True)
time.sleep(60 if len(sys.argv) > 3 else 0)
"""


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield ledger


def start(ledger: Ledger, count: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(ledger.path), str(count), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def count(ledger: Ledger) -> int:
    return int(ledger.rows("SELECT COUNT(*) FROM calls")[0][0])


def test_processes_write_at_once(ledger: Ledger) -> None:
    writers = [start(ledger, 50) for _ in range(3)]
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert count(ledger) == 150


def test_a_killed_process_loses_no_row(ledger: Ledger) -> None:
    writer = start(ledger, 20, "stay")
    assert writer.stdout is not None
    written = [writer.stdout.readline() for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=30)
    assert len(written) == count(ledger) == 20


def test_a_fork_opens_the_file_for_itself(tmp_path: Path) -> None:
    code = f"""
import os
os.environ["DEEPSEEK_APPS_STATE_DIR"] = {str(tmp_path)!r}
from deepseek_apps.routing._ledger_writer import shared_writer
from deepseek_apps.routing.ledger import CallRecord
record = CallRecord(at=1.0, backend="hosted")
shared_writer().add(record)
if (child := os.fork()) == 0:
    shared_writer().add(record)
    os._exit(0)
os.waitpid(child, 0)
shared_writer().add(record)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert count(ledger) == 3


def test_sums_are_exact(ledger: Ledger) -> None:
    for _ in range(1000):
        ledger.add(CallRecord(at=5.0, backend="hosted", usd=to_pico(Decimal("0.000000003625"))))
    assert ledger.spent_since(0) == Decimal("0.000003625")
    assert ledger.spent_since(6) == from_pico(None) == 0


def test_the_file_is_private(ledger: Ledger) -> None:
    assert ledger.path.stat().st_mode & 0o077 == 0


def test_a_newer_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LedgerError, match="schema version 99"):
        Ledger(path)


def test_a_lost_file_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_STATE_DIR", str(tmp_path / "a"))
    writer, record = LedgerWriter(), CallRecord(at=1.0, backend="hosted")
    writer.add(record)
    monkeypatch.setenv("DEEPSEEK_APPS_STATE_DIR", str(tmp_path / "b"))
    writer.add(record)
    writer.close()
    for folder in ("a", "b"):
        with Ledger(tmp_path / folder / "ledger.db") as ledger:
            assert count(ledger) == 1


def test_a_ledger_that_cannot_be_opened_is_said_once(tmp_path, monkeypatch, caplog) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEEPSEEK_APPS_STATE_DIR", str(tmp_path / "file"))
    writer = LedgerWriter()
    for _ in range(3):
        writer.add(CallRecord(at=1.0, backend="hosted"))
    assert [str(ledger_path()) in record.getMessage() for record in caplog.records] == [True]


def record(day: int, **fields: object) -> CallRecord:
    at = (DAY + timedelta(days=day)).timestamp()
    return CallRecord(**{"at": at, "backend": "hosted", "status": 200, **fields})


def test_spending_is_grouped_and_ordered(ledger: Ledger) -> None:
    for number, day in enumerate((0, 0, 1, 5)):
        ledger.add(record(day, usd=10**12 * (number + 1), model="ab"[day % 2], prompt=10, hit=4, recipe="r"))
    ledger.add(record(1, model="c", outcome="failed", status=503, usd=0))
    ledger.add(record(1, model="d"))
    since, until = DAY - timedelta(hours=12), DAY + timedelta(days=2)
    days = spending_by(ledger, "day", since, until)
    assert [(row.key, row.calls, row.cost) for row in days] == [("2026-11-20", 2, 3), ("2026-11-21", 3, 3)]
    models = spending_by(ledger, "model", since, until)
    assert {(row.key, row.cost) for row in models[:2]} == {("a", 3), ("b", 3)}
    total = spending_between(ledger, since, until, key="all")
    assert (total.key, total.calls, total.failed, total.unpriced) == ("all", 5, 1, 1)
    assert total.hit_share == pytest.approx(0.4)
    assert spending_by(ledger, "run", since, until)[0].key.strip() == "r"


def test_no_calls_are_a_sum_too(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    assert spending_between(ledger, now, now) == Spending(key="")
    assert Spending(key="").hit_share is None


def test_another_hosts_reservation_ends_with_time(ledger: Ledger) -> None:
    kept = ledger.reserve(Decimal(1), budget=Decimal(2), since=0)
    with sqlite3.connect(ledger.path) as db:
        db.execute("UPDATE reservations SET host = 'elsewhere', pid = ?", (os.getpid(),))
        db.commit()
        assert ledger.reserve(Decimal(1), budget=Decimal(2), since=0) != kept
        db.execute("UPDATE reservations SET at = 0 WHERE id = ?", (kept,))
    db.close()
    assert ledger.reserve(Decimal(1), budget=Decimal(2), since=0)
