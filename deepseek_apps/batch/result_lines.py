"""Lines of a batch's output in OpenAI's format: writing them, and finding one's way in a file of them.

Pure but for the file it is handed; which file, locking and order are results.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

__all__ = ["ResultState", "Span", "Spans", "repair_tail", "result_line", "scan"]

ResultState = Literal["answered", "refused", "failed"]
Spans = dict[str, "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """Where the result of one request is.

    Attributes:
        offset, length: Bytes of its line, the line end included.
        state: answered; refused, for good; or failed, which may go better another time.
    """

    offset: int
    length: int
    state: ResultState


def result_line(
    custom_id: str,
    *,
    status: int | None,
    request_id: str,
    body: object,
    error: Mapping[str, Any] | None,
) -> bytes:
    """Return one line, its end included.

    Args:
        custom_id: The request's name.
        status: HTTP status of the reply; None when none came, and then the response is null.
        request_id: The backend's name for the reply.
        body: The reply.
        error: Code, message and whether another try may help; None for an answer.
    """
    response = None if status is None else {"status_code": status, "request_id": request_id, "body": body}
    name = hashlib.sha256(custom_id.encode("utf-8")).hexdigest()[:24]
    row = {"id": f"batch_req_{name}", "custom_id": custom_id, "response": response, "error": error}
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # a lone surrogate in the reply: JSON can carry it, UTF-8 cannot
        return json.dumps(row).encode("ascii") + b"\n"


def read_result(line: bytes) -> tuple[str, ResultState] | None:
    """Return whose result a line is, and what became of it; None if it is none, or half of one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(custom_id := row.get("custom_id"), str):
        return None
    error = row.get("error")
    if error is None:
        return (custom_id, "answered") if isinstance(row.get("response"), dict) else None
    return custom_id, "failed" if isinstance(error, dict) and error.get("retryable") else "refused"


def repair_tail(file: BinaryIO) -> int:
    """Mend what a killed process left at the end, so that lines can be appended.

    A last line that is whole but for its line end gets one, and half a line is cut off.

    Returns:
        How many bytes were cut off.
    """
    start, size = _last_line(file)
    if start == size:
        return 0
    file.seek(start)
    if read_result(file.read()) is not None:
        file.write(b"\n")
        return 0
    file.truncate(start)
    return size - start


def scan(file: BinaryIO) -> tuple[Spans, int]:
    """Find every request's result; of several the answer counts, else the last.

    Returns:
        The results by custom_id, and how many lines hold none.
    """
    spans: Spans = {}
    unreadable = offset = 0
    file.seek(0)
    for line in file:
        found = read_result(line)
        if found is None:
            unreadable += bool(line.strip())
        elif found[0] not in spans or spans[found[0]].state != "answered":
            spans[found[0]] = Span(offset, len(line), found[1])
        offset += len(line)
    return spans, unreadable


def _last_line(file: BinaryIO) -> tuple[int, int]:
    """Return where the bytes after the last line end begin, and the file's size."""
    size = start = file.seek(0, 2)
    while start > 0:
        step = min(start, 1 << 16)
        file.seek(start - step)
        end = file.read(step).rfind(b"\n")
        if end >= 0:
            return start - step + end + 1, size
        start -= step
    return 0, size
