"""The CLI's only printer: answers go to stdout, everything else to stderr.

Text is streamed as it comes and never redrawn, so it survives pipes, narrow terminals and interrupts. Model
text is data: it is never read as markup, and on a terminal its control characters are dropped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from deepseek_apps.cli.failure import Failure

if TYPE_CHECKING:
    from rich.progress import Progress

    from deepseek_apps.answer import AnswerStream, TextDelta

__all__ = ["AnswerView", "Output", "make_streams_lenient"]

CheckStatus = Literal["ok", "warn", "fail", "skip"]
STATUS_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
# Wide enough that nothing is cut when the reader is a program.
PIPE_WIDTH = 10_000
DIM, NOT_DIM = "\x1b[2m", "\x1b[22m"
UNSAFE_ON_TERMINAL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def make_streams_lenient() -> None:
    """Let stdout and stderr replace what their encoding lacks instead of failing half-way."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")


class Output:
    """Where a command prints: `stdout` for what was asked for, `stderr` for everything about it."""

    def __init__(self) -> None:
        self._stdout = _console(stderr=False)
        self._stderr = _console(stderr=True)

    @property
    def stdout_is_terminal(self) -> bool:
        """Whether a person reads the answer directly."""
        return self._stdout.is_terminal

    @property
    def width(self) -> int:
        """Columns to draw in: the terminal's, at most 80; a pipe has no width of its own."""
        return min(self._stdout.width, 80)

    @property
    def has_blocks(self) -> bool:
        """Whether stdout can show block characters."""
        return not self._stdout.options.ascii_only

    def heading(self, text: str) -> None:
        """Print a bold line on stdout, with an empty one above it."""
        self._stdout.print(Text(f"\n{_safe(text)}", style="bold"), soft_wrap=True, highlight=False)

    def text(self, text: str) -> None:
        """Print a line on stdout."""
        _write(self._stdout, f"{text}\n")

    def json(self, value: object) -> None:
        """Print one JSON value on stdout, on one line when stdout is no terminal."""
        indent = 2 if self._stdout.is_terminal else None
        self.text(json.dumps(value, ensure_ascii=False, indent=indent))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table on stdout."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(_safe(cell)) for cell in row))
        self._table(table)

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Print names and values on stdout, aligned."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in pairs:
            table.add_row(Text(_safe(name)), Text(_safe(value)))
        self._table(table)

    def check(self, status: CheckStatus, name: str, detail: str, next_step: str) -> None:
        """Print one line of a health report on stdout, and its next step below it."""
        line = Text.assemble((f"{status:<5}", STATUS_STYLES[status]), (name, "bold"), f": {_safe(detail)}")
        self._stdout.print(line, soft_wrap=True, highlight=False)
        if next_step:
            self._stdout.print(Text(f"      next: {next_step}"), soft_wrap=True, highlight=False)

    def note(self, text: str) -> None:
        """Print a dimmed remark on stderr."""
        self._stderr.print(Text(_safe(text), style="dim"), soft_wrap=True)

    def failure(self, failure: Failure) -> None:
        """Print an error and what to do about it on stderr."""
        self._stderr.print(
            Text.assemble(("error:", "bold red"), f" {_safe(failure.message)}"), soft_wrap=True
        )
        if failure.help_message:
            self._stderr.print(
                Text.assemble(("next:", "bold"), f" {_safe(failure.help_message)}"), soft_wrap=True
            )

    def waiting(self, text: str) -> Status:
        """Return a spinner for stderr; it shows nothing when stderr is no terminal."""
        return self._stderr.status(Text(text, style="dim"), spinner="dots")

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question on stderr; no is the answer when nobody can reply."""
        self._stderr.print(Text(f"{question} [y/N] "), end="", soft_wrap=True)
        reply = sys.stdin.readline()
        return reply.strip().lower() in {"y", "yes"}

    def progress(self) -> Progress:
        """Return a transfer progress bar for stderr, with speed and remaining time."""
        from rich import progress  # noqa: PLC0415  lazy: only `models pull` shows one

        return progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=self._stderr,
            disable=not self._stderr.is_terminal,
        )

    def counter(self) -> Progress:
        """Return a bar for stderr that counts things, with room for a remark and the remaining time."""
        from rich import progress  # noqa: PLC0415  lazy: only `batch` shows one

        return progress.Progress(
            progress.BarColumn(bar_width=20),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.description}", markup=False),
            console=self._stderr,
            disable=not self._stderr.is_terminal,
        )

    def stream_piece(self, delta: TextDelta) -> None:
        """Print a piece of text without a line end: the answer on stdout, reasoning on stderr."""
        console = self._stderr if delta.kind == "reasoning" else self._stdout
        text = _safe(delta.text) if console.is_terminal else delta.text
        if delta.kind == "reasoning" and console.is_terminal and not console.no_color:
            text = f"{DIM}{text}{NOT_DIM}"
        _write(console, text)

    def _table(self, table: Table) -> None:
        # rich fills every line up; the blanks at its end are of no use to anyone.
        with self._stdout.capture() as capture:
            self._stdout.print(table, highlight=False)
        for line in capture.get().splitlines():
            self.text(line.rstrip())

    def end_line(self, kind: Literal["reasoning", "content"]) -> None:
        """End the line that pieces of this kind were printed on."""
        _write(self._stderr if kind == "reasoning" else self._stdout, "\n")


class AnswerView:
    """Shows one answer as it arrives: a spinner, dimmed reasoning on stderr, the answer on stdout.

    Args:
        out: Where to print.
        show: False prints nothing but the spinner, for output that is printed whole at the end.
    """

    def __init__(self, out: Output, *, show: bool = True) -> None:
        self._out = out
        self._show = show
        self._open: Literal["reasoning", "content"] | None = None

    def run(self, stream: AnswerStream) -> None:
        """Print a stream to its end; a broken or interrupted one keeps what was printed and ends its line."""
        try:
            for delta in self._after_spinner(stream):
                if self._show:
                    self._piece(delta)
        finally:
            self._end_line()

    def _after_spinner(self, stream: AnswerStream) -> Iterator[TextDelta]:
        deltas = iter(stream)
        local = stream.answer.backend == "local"
        waiting = (
            "starting the model; its very first start takes longer" if local else "waiting for the answer"
        )
        with self._out.waiting(waiting):
            first = next(deltas, None)
        if first is not None:
            yield first
            yield from deltas

    def _piece(self, delta: TextDelta) -> None:
        if self._open not in {None, delta.kind}:
            self._end_line()
        self._open = delta.kind
        self._out.stream_piece(delta)

    def _end_line(self) -> None:
        if self._open is not None:
            self._out.end_line(self._open)
            self._open = None


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, soft_wrap=False, emoji=False, markup=True)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def _write(console: Console, text: str) -> None:
    """Write text exactly; rich would expand tabs and could wrap."""
    console.file.write(text)
    console.file.flush()


def _safe(text: str) -> str:
    """Drop control characters, so that text from elsewhere cannot drive the terminal."""
    return text.translate(UNSAFE_ON_TERMINAL)
