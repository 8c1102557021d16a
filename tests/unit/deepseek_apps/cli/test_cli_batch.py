"""`batch` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from batch_server import batch_file
from fake_deepseek import FakeDeepSeek, completion, error

from deepseek_apps.batch.progress import BatchProgress
from deepseek_apps.cli._batch_session import status_text


@pytest.fixture
def batch(cli, tmp_path: Path, fake: FakeDeepSeek):
    """Run `batch` on a file of three requests against the fake, as a server."""
    (tmp_path / "in.jsonl").write_text(batch_file(3), encoding="utf-8")

    def run(*arguments: str):
        files = (str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"))
        return cli("batch", *files, "--base-url", fake.url, *arguments)

    return run


def test_the_summary_is_on_stdout_and_progress_on_stderr(batch) -> None:
    done = batch()
    assert done.code == 0
    assert "answered           3\n" in done.out
    assert "3 of 3 requests · 645 tokens · $0.0000" in done.err


def test_json_is_one_object(batch, tmp_path: Path) -> None:
    row = json.loads(batch("--json").out)
    assert (row["requests"], row["answered"], row["failed"]) == (3, 3, 0)
    assert (row["prompt_tokens"], row["cached_tokens"]) == (636, 384)
    assert row["output"] == str(tmp_path / "out.jsonl")


def test_requests_without_an_answer_are_an_error(batch, fake: FakeDeepSeek) -> None:
    fake.script = [completion(), error(400, "Content Exists Risk")]
    done = batch("--concurrency", "1")
    assert done.code == 1
    assert "failed             1\n" in done.out
    assert "error: 1 of 3 requests have no answer" in done.err


@pytest.mark.parametrize(
    ("status", "text", "code"), [(401, "Authentication Fails", 3), (402, "Insufficient Balance", 4)]
)
def test_what_stops_a_batch_is_its_exit_code(batch, fake, status: int, text: str, code: int) -> None:
    fake.script = [completion(), error(status, text)]
    done = batch("--concurrency", "1")
    assert (done.code, done.out) == (code, "")
    assert f"error: {text}" in done.err
    assert "2 requests are left; run it again with the same files to go on" in done.err
    assert batch().code == 0
    assert len(fake.asked) == 4


def test_bad_lines_are_a_usage_error(cli, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("{}\n", encoding="utf-8")
    done = cli("batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"))
    assert done.code == 2
    assert "line 1: custom_id is missing" in done.err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_dry_run_sends_nothing_and_prints_the_estimate(batch, fake: FakeDeepSeek, tmp_path: Path) -> None:
    done = batch("--dry-run", "--backend", "server", "--json")
    (row,) = json.loads(done.out)["models"]
    assert (row["model"], row["requests"], done.code) == ("deepseek-flash", 3, 0)
    assert fake.asked == []
    assert not (tmp_path / "out.jsonl").exists()


def test_off_peak_is_said_to_mean_nothing_for_a_server(batch) -> None:
    assert (
        "--off-peak has no effect: the server backend costs the same at any hour" in batch("--off-peak").err
    )


def test_the_bar_says_what_it_waits_for() -> None:
    from datetime import UTC, datetime, timedelta

    now = BatchProgress(total=10, waiting_until=datetime.now(UTC) + timedelta(hours=2, seconds=30))
    assert status_text(now).endswith("2 h 00 min from now")
    now = BatchProgress(total=10, answered=4, failed=1, seconds=5.0, in_flight=3, limit=8)
    assert status_text(now) == "1 failed · 0 tokens · $0.0000 · 3 of 8 at once · 5 s left"
