"""A batch process killed with SIGKILL, again and again, until its 200 requests are answered."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from pathlib import Path

import pytest
from batch_server import BatchServer, batch_file

CONCURRENCY = 8
COMMAND = [sys.executable, "-m", "deepseek_apps", "batch"]


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "DEEPSEEK_API_KEY",
        "DEEPSEEK_APPS_BASE_URL",
        "DEEPSEEK_APPS_BACKEND",
        "DEEPSEEK_APPS_MODEL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("DEEPSEEK_APPS_STATE_DIR", str(tmp_path / "state"))


async def start(tmp_path: Path, url: str) -> asyncio.subprocess.Process:
    files = [str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")]
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *files,
        "--base-url",
        url,
        "--concurrency",
        str(CONCURRENCY),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def kill_after(process: asyncio.subprocess.Process, server: BatchServer, asked: int) -> int:
    """Kill it once so many requests have come, and return how many were in flight then."""
    while server.asked.total() < asked and process.returncode is None:
        await asyncio.sleep(0.002)
    in_flight = server.at_once
    process.kill()
    await process.wait()
    return max(in_flight, server.at_once)


async def test_killed_batches_are_gone_on_with_and_nothing_finished_is_paid_twice(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(batch_file(200), encoding="utf-8")
    chance, killed = random.Random(7), 0
    async with BatchServer(seconds=0.01) as server:
        for asked in (50, 120):
            process = await start(tmp_path, server.url)
            await kill_after(process, server, asked + chance.randrange(10))
            killed += 1
        process = await start(tmp_path, server.url)
        _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [row["custom_id"] for row in rows] == [f"r{number}" for number in range(200)]
    assert all(row["error"] is None for row in rows)
    # Only what was on its way when the process died can have been asked twice.
    assert server.asked.total() - 200 <= killed * CONCURRENCY
    assert max(server.asked.values()) <= 1 + killed


async def test_ctrl_c_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(batch_file(200), encoding="utf-8")
    async with BatchServer(seconds=0.05) as server:
        process = await start(tmp_path, server.url)
        while server.asked.total() < 20:
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)
    lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert process.returncode == 130
    assert len(lines) == server.asked.total() < 200
    assert "requests in flight; Ctrl-C again gives them up" in err.decode()
    assert f"{200 - len(lines)} requests are left; run it again" in err.decode()
