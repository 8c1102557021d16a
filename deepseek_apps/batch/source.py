"""The input of a batch: checked whole before anything is sent, then read again line by line.

Only positions and names are kept in memory, so a file may be larger than it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deepseek_apps.batch.errors import BatchInputError
from deepseek_apps.batch.line_checks import BatchRequest, LineError, parse_line

__all__ = ["BatchSource", "read_source"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MOST_PROBLEMS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class _Place:
    line: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class BatchSource:
    """A checked batch file.

    Attributes:
        path: The file.
        digest: SHA-256 of its bytes, in hexadecimal.
        models: Models its bodies name, each with how many do; "" counts bodies that name none.
        routes: Routes below a backend's address that its requests need.
    """

    path: Path
    digest: str
    models: Mapping[str, int]
    routes: frozenset[str]
    _places: Mapping[str, _Place] = field(repr=False)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, custom_id: object) -> bool:
        return custom_id in self._places

    @property
    def custom_ids(self) -> Iterator[str]:
        """The requests' names, in the file's order."""
        return iter(self._places)

    def read(self, custom_id: str) -> BatchRequest:
        """Read one request.

        Raises:
            BatchInputError: The file has been changed since it was checked.
        """
        place = self._places[custom_id]
        try:
            with self.path.open("rb") as file:
                file.seek(place.offset)
                request = parse_line(file.read(place.length))
        except (OSError, LineError) as error:
            raise self._changed(place) from error
        if request.custom_id != custom_id:
            raise self._changed(place)
        return request

    def requests(self) -> Iterator[BatchRequest]:
        """Read all requests, in the file's order."""
        return (self.read(custom_id) for custom_id in self._places)

    def _changed(self, place: _Place) -> BatchInputError:
        return BatchInputError(
            f"{self.path} has changed while the batch ran (line {place.line})",
            help_message="Put the old content back and run it again, or start another batch.",
        )


def read_source(path: Path) -> BatchSource:
    """Check a batch file; empty lines are skipped.

    Raises:
        BatchInputError: It cannot be read, holds no request, or has lines that cannot be sent; all of them
            are named by number.
    """
    digest = hashlib.sha256()
    reader = _Reader()
    try:
        with path.open("rb") as file:
            for line in file:
                digest.update(line)
                reader.take(line)
    except OSError as error:
        raise BatchInputError(
            f"cannot read {path}: {error.strerror or error}", help_message="Check the path."
        ) from error
    if reader.problems:
        raise _input_error(path, reader.problems)
    if not reader.places:
        raise BatchInputError(
            f"{path} holds no request", help_message="Write one request a line, in OpenAI's batch format."
        )
    return BatchSource(path, digest.hexdigest(), reader.models, frozenset(reader.routes), reader.places)


class _Reader:
    """What is known of the lines so far."""

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}
        self.models: dict[str, int] = {}
        self.routes: set[str] = set()
        self.problems: list[str] = []
        self._line = 0
        self._offset = 0

    def take(self, line: bytes) -> None:
        self._line += 1
        offset, length = self._offset, len(line)
        self._offset += length
        if self._line == 1 and line.startswith(BYTE_ORDER_MARK):
            offset, length, line = offset + 3, length - 3, line[3:]
        if not line.strip():
            return
        try:
            request = parse_line(line)
            self._add(request, _Place(self._line, offset, length))
        except LineError as error:
            self.problems.append(f"line {self._line}: {error}")

    def _add(self, request: BatchRequest, place: _Place) -> None:
        if (other := self.places.get(request.custom_id)) is not None:
            raise LineError(f"custom_id {request.custom_id!r} is taken by line {other.line}")
        self.places[request.custom_id] = place
        self.routes.add(request.route)
        model = request.model or ""
        self.models[model] = self.models.get(model, 0) + 1


def _input_error(path: Path, problems: list[str]) -> BatchInputError:
    shown = problems[:MOST_PROBLEMS_SHOWN]
    more = len(problems) - len(shown)
    tail = [f"and {more} more"] if more else []
    count = "1 line" if len(problems) == 1 else f"{len(problems)} lines"
    return BatchInputError(
        f"{path}: {count} cannot be sent, so nothing was\n  " + "\n  ".join([*shown, *tail]),
        help_message='A line looks like {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", '
        '"body": {"model": …, "messages": […]}}.',
    )
