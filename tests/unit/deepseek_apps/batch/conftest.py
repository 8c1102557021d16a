"""Runs a batch in this process: files in a temporary folder, a loopback server, a clock nobody waits for."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from batch_clock import BatchClock
from batch_server import BatchServer

from deepseek_apps import async_http_client
from deepseek_apps.batch import BatchOptions, BatchProgress, BatchResults, BatchRun, read_source


@dataclass
class Files:
    """The two files of a batch."""

    source: Path
    target: Path

    def rows(self) -> list[dict[str, Any]]:
        """The output's lines."""
        return [json.loads(line) for line in self.target.read_text(encoding="utf-8").splitlines()]


RunBatch = Callable[..., Awaitable[BatchProgress]]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "in.jsonl", tmp_path / "out.jsonl")


@pytest.fixture
def run_once(files: Files) -> RunBatch:
    """Return a function that runs the batch once against a server, as the hosted API."""

    async def run(
        server: BatchServer,
        text: str | None = None,
        *,
        clock: BatchClock | None = None,
        backend: str = "hosted",
        on_start: Callable[[BatchRun], None] = lambda _: None,
        errors: Path | None = None,
        **options: Any,
    ) -> BatchProgress:
        if text is not None:
            files.source.write_text(text, encoding="utf-8")
        source = read_source(files.source)
        async with async_http_client(backend, base_url=server.url, api_key="sk-test") as client:
            with BatchResults(files.target, source) as results:
                batch = BatchRun(
                    client,
                    source,
                    results,
                    BatchOptions(**options),
                    clock=clock or BatchClock(),
                    chance=random.Random(0),
                )
                on_start(batch)
                try:
                    return await batch.run()
                finally:
                    results.finish(errors)

    return run
