"""The output of a batch: appended to and synced as answers come, put in order at the end.

The file itself is the journal, so partial results can be read at any time. Beside it, `OUT.batch.json` says
which input it belongs to and carries the lock; without it a later run could not know what has been paid for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from deepseek_apps.batch._file_lock import try_lock
from deepseek_apps.batch.errors import BatchInputError, BatchOutputError
from deepseek_apps.batch.result_lines import ResultState, Spans, repair_tail, scan
from deepseek_apps.batch.source import BatchSource

__all__ = ["BatchResults"]

FORMAT_VERSION = 1


class BatchResults:
    """The output file of one batch, open and locked.

    Args:
        path: The file; made when absent.
        source: The batch it belongs to.

    Attributes:
        spans: The results that are in it, by custom_id.
        dropped: Lines of it that could not be read; their requests count as not asked.

    Raises:
        BatchInputError: The file belongs to another input.
        BatchOutputError: Another process is at work on it, it is no batch output of ours, or not writable.
    """

    def __init__(self, path: Path, source: BatchSource) -> None:
        self.path = path
        self.spans: Spans = {}
        self.dropped = 0
        self._source = source
        self._file: BinaryIO | None = None
        self._refuse_the_input()
        self._refuse_a_stranger()
        try:
            self._lock = os.open(self._beside, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._open()
        except OSError as error:
            self.close()
            raise self._unusable(error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give the lock back; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def unfinished(self) -> list[str]:
        """Requests without an answer or a final refusal, in the input's order."""
        failed = {name for name, span in self.spans.items() if span.state == "failed"}
        return [name for name in self._source.custom_ids if name not in self.spans or name in failed]

    def count(self, state: ResultState) -> int:
        """Return how many requests have a result of this state."""
        return sum(span.state == state for span in self.spans.values())

    def append(self, lines: Iterable[bytes]) -> None:
        """Add lines and return once they are on the disk.

        Raises:
            BatchOutputError: They cannot be written.
        """
        assert self._file is not None
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.write(b"".join(lines))
            self._sync()
        except OSError as error:
            raise self._unusable(error) from error

    def rows(self) -> Iterable[tuple[str, bytes]]:
        """Read the counted line of every request that has one, in the input's order."""
        assert self._file is not None
        for name in self._source.custom_ids:
            if (span := self.spans.get(name)) is not None:
                self._file.seek(span.offset)
                yield name, self._file.read(span.length)

    def finish(self, errors: Path | None = None) -> None:
        """Take in what was appended; once every request has a result, put them in order, in one step.

        Args:
            errors: Where to write the results that are no answers as well; made even when there are none.

        Raises:
            BatchOutputError: A file cannot be written.
        """
        assert self._file is not None
        try:
            self.spans, self.dropped = scan(self._file)
            if errors is not None:
                _replace(errors, (line for name, line in self.rows() if self._failed(name)))
            if len(self.spans) == len(self._source) and not self._in_order():
                _replace(self.path, (line for _, line in self.rows()))
        except OSError as error:
            raise self._unusable(error) from error

    @property
    def _beside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.batch.json")

    def _open(self) -> None:
        if not try_lock(self._lock):
            raise BatchOutputError(
                f"another process is writing {self.path}",
                help_message="Wait until it ends, stop it, or name another output.",
            )
        self._check_the_owner()
        # Made by hand: append mode would move every write to the end, repairs included.
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        repair_tail(self._file)
        self.spans, self.dropped = scan(self._file)
        if strangers := [name for name in self.spans if name not in self._source]:
            raise BatchOutputError(
                f"{self.path} holds a result of {strangers[0]!r}, which {self._source.path} does not ask for",
                help_message="Name another output.",
            )
        self._sync()

    def _check_the_owner(self) -> None:
        """Compare the input with the one the output was begun for; a new output is given its name."""
        known = os.pread(self._lock, 1 << 16, 0) if hasattr(os, "pread") else self._beside.read_bytes()
        digest = _digest_in(known)
        if digest is None or not self._has_results():
            row = {"version": FORMAT_VERSION, "input": self._source.path.name, "sha256": self._source.digest}
            os.ftruncate(self._lock, 0)
            os.lseek(self._lock, 0, os.SEEK_SET)
            os.write(self._lock, json.dumps(row).encode() + b"\n")
            os.fsync(self._lock)
        elif digest != self._source.digest:
            raise BatchInputError(
                f"{self._source.path} has changed, or is not the input that {self.path} holds results of",
                help_message="Put the old input back to go on with it, or name another output.",
            )

    def _refuse_a_stranger(self) -> None:
        if self._has_results() and not self._beside.exists():
            raise BatchOutputError(
                f"{self.path} exists, and {self._beside.name}, which says what it answers, does not",
                help_message="Name another output, or move that file away.",
            )

    def _refuse_the_input(self) -> None:
        if self.path.exists() and self.path.samefile(self._source.path):
            raise BatchOutputError(f"{self.path} is the input", help_message="Name another output.")

    def _has_results(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def _failed(self, name: str) -> bool:
        return self.spans[name].state != "answered"

    def _in_order(self) -> bool:
        offsets = [self.spans[name].offset for name in self._source.custom_ids]
        length = sum(span.length for span in self.spans.values())
        return offsets == sorted(offsets) and length == self.path.stat().st_size

    def _sync(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())

    def _unusable(self, error: OSError) -> BatchOutputError:
        return BatchOutputError(
            f"cannot write {error.filename or self.path}: {error.strerror or error}",
            help_message="Check the path, its permissions and the free space; what is done is kept.",
        )


def _digest_in(content: bytes) -> str | None:
    try:
        row = json.loads(content)
    except ValueError:
        return None
    return str(row.get("sha256")) if isinstance(row, dict) else None


def _replace(path: Path, lines: Iterable[bytes]) -> None:
    """Write a whole file beside the old one and put it in its place; a reader sees one or the other."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
