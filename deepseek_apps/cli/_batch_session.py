"""A batch in a terminal: its client, its bar, and Ctrl-C, which first lets paid requests come home."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepseek_apps.backend_client import AsyncBackendClient, async_http_client
from deepseek_apps.batch import BatchOptions, BatchProgress, BatchRun, BatchSource
from deepseek_apps.batch.batch import run_source
from deepseek_apps.routing.run import run as run_of

if TYPE_CHECKING:
    from rich.progress import Progress

    from deepseek_apps.cli.render import Output

__all__ = ["BatchBar", "open_client", "run_in_terminal", "status_text", "summary_fields"]


def open_client(
    *, backend: str | None, model: str | None, base_url: str | None, notice: Callable[[str], None]
) -> AsyncBackendClient:
    """Return a client; what is not given comes from the settings. Naming a server implies its backend.

    Raises:
        SettingsError: A setting cannot be used.
    """
    chosen = "server" if base_url is not None and backend is None else backend
    return async_http_client(chosen, model=model, base_url=base_url, notice=notice)


def run_in_terminal(
    out: Output,
    source: BatchSource,
    target: Path,
    *,
    client: AsyncBackendClient,
    options: BatchOptions,
    errors: Path | None,
) -> BatchProgress:
    """Run a batch to its end, with a bar on stderr.

    Raises:
        KeyboardInterrupt: It was interrupted; what is done is kept.
        DeepSeekAppsError: It stopped; see `run_batch`.
    """
    interrupt = _Interrupt(out)

    async def main() -> BatchProgress:
        def watch(run: BatchRun) -> None:
            interrupt.watch(run, asyncio.current_task())

        async with client:
            return await run_source(
                source,
                target,
                client=client,
                options=options,
                errors=errors,
                on_progress=bar.update,
                on_start=watch,
            )

    with run_of(recipe="batch", name=target.name), out.counter() as progress:
        bar = BatchBar(out, progress)
        try:
            summary = asyncio.run(main())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            if bar.unfinished:
                out.note(f"{bar.unfinished} requests are left; run it again with the same files to go on")
    if interrupt.count:
        raise KeyboardInterrupt
    return summary


class _Interrupt:
    """Ctrl-C: once waits for what is in flight, twice gives it up."""

    def __init__(self, out: Output) -> None:
        self.count = 0
        self._out = out
        self._run: BatchRun | None = None
        self._task: asyncio.Task[Any] | None = None

    def watch(self, run: BatchRun, task: asyncio.Task[Any] | None) -> None:
        self._run, self._task = run, task
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._take)
        except NotImplementedError:  # Windows: asyncio cancels the task by itself
            return

    def _take(self) -> None:
        assert self._run is not None
        self.count += 1
        if self.count == 1:
            in_flight = self._run.progress.in_flight
            self._out.note(f"waiting for {in_flight} requests in flight; Ctrl-C again gives them up")
            self._run.stop()
        elif self._task is not None:
            self._task.cancel()


class BatchBar:
    """Shows progress: a bar on a terminal, else a note per tenth."""

    def __init__(self, out: Output, progress: Progress) -> None:
        self._out = out
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._tenth = 0
        self._waiting: datetime | None = None
        self.unfinished = 0

    def update(self, now: BatchProgress) -> None:
        """Show one state of the batch."""
        self.unfinished = now.total - now.finished
        if not self._progress.disable:
            self._progress.update(
                self._task, total=now.total, completed=now.finished, description=status_text(now)
            )
            return
        tenth = 10 * now.finished // now.total
        if tenth != self._tenth or now.waiting_until != self._waiting:
            self._tenth, self._waiting = tenth, now.waiting_until
            self._out.note(f"{now.finished} of {now.total} requests · {status_text(now)}")


def status_text(now: BatchProgress) -> str:
    """Return what is said beside the bar."""
    if now.waiting_until is not None:
        left = (now.waiting_until - datetime.now(UTC)).total_seconds()
        local = now.waiting_until.astimezone()
        return f"peak price: waiting until {local:%H:%M}, {_readable(left)} from now"
    parts = [f"{now.failed} failed"] if now.failed else []
    parts += [f"{now.prompt_tokens + now.completion_tokens:,} tokens", f"${now.cost:.4f}"]
    parts.append(f"{now.in_flight} of {now.limit} at once")
    if now.eta_seconds is not None:
        parts.append(f"{_readable(now.eta_seconds)} left")
    return " · ".join(parts)


def summary_fields(summary: BatchProgress) -> dict[str, int | float]:
    """Return what is said of a batch that has ended."""
    return {
        "requests": summary.total,
        "answered": summary.resumed + summary.answered,
        "answered_before": summary.resumed,
        "failed": summary.unanswered,
        "sent_again": summary.repeated,
        "prompt_tokens": summary.prompt_tokens,
        "cached_tokens": summary.cached_tokens,
        "completion_tokens": summary.completion_tokens,
        "cost_usd": float(round(summary.cost, 6)),
        "seconds": round(summary.seconds, 1),
    }


def _readable(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )
