"""What counts as a failure that another backend may make good: pure, over statuses, exceptions and bytes.

Statuses: DeepSeek's error page (https://api-docs.deepseek.com/quick_start/error_codes, 2026-11). 400, 404 and
422 are about the request and would be the same anywhere; 401 and 402 are about one account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import httpx2

__all__ = [
    "StreamPeek",
    "body_fault",
    "connection_fault",
    "is_hard",
    "is_overload",
    "other_replica_helps",
    "status_fault",
]

STATUSES = {401, 402, 408, 429, 500, 502, 503, 504}
ACCOUNT_STATUSES = {401, 402}
GAVE_UP = "insufficient_system_resource"
ANSWER_PARTS = ("content", "reasoning_content", "reasoning", "tool_calls", "function_call")
# An answer that has not begun after this many bytes is not held back any longer.
MOST_HELD_BYTES = 64 * 1024

Verdict: TypeAlias = Literal["wait", "pass"]


def status_fault(status: int) -> str:
    """Return what a status says went wrong; empty if it is an answer, be it a refusal."""
    return str(status) if status in STATUSES else ""


def connection_fault(error: Exception) -> str:
    """Return what went wrong with a connection; empty if the request itself cannot be sent."""
    if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
        return ""
    if isinstance(error, httpx2.TimeoutException):
        return "connecting timed out" if isinstance(error, httpx2.ConnectTimeout) else "timed out"
    if isinstance(error, httpx2.ConnectError):
        return "no connection"
    return "the connection broke" if isinstance(error, httpx2.TransportError) else ""


def is_hard(fault: str) -> bool:
    """Whether a fault is the machine's and not one request's: the next one would most likely meet it too."""
    return not fault.startswith(("4", "5")) and fault != GAVE_UP


def is_overload(fault: str) -> bool:
    """Whether a fault is a sign that the backend is not well; a busy or an unpaid one is well."""
    return fault.startswith("5") or fault in {"408", GAVE_UP}


def other_replica_helps(fault: str) -> bool:
    """Whether another replica of the same server may do better: not if the account is the trouble."""
    return fault not in {str(status) for status in ACCOUNT_STATUSES}


def body_fault(content: bytes) -> str:
    """Return what is wrong with a whole 200 reply; empty if it holds an answer.

    The content type is not looked at: some replies of the API call their JSON octet-stream. Blank lines
    before the JSON are how the API says that the request waits its turn.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return "an empty reply" if not content.strip() else "a reply that is not JSON"
    if not isinstance(body, dict):
        return "a reply that is not a JSON object"
    if _error_in(body):
        return "an error in a 200 reply"
    choice = _first_choice(body)
    gave_up = choice.get("finish_reason") == GAVE_UP
    return GAVE_UP if gave_up and not _has_answer(choice, "message") else ""


class StreamPeek:
    """Reads the first events of a chat stream until it is known whether an answer begins.

    Attributes:
        fault: What went wrong, once `feed` or `end` said so; empty is nothing.
    """

    def __init__(self) -> None:
        self.fault = ""
        self._rest = b""
        self._size = 0

    def feed(self, chunk: bytes) -> Verdict:
        """Take more bytes; `pass` means that the stream, with what was held back, counts, unless `fault`.

        Comments such as `: keep-alive` and events without text mean waiting.
        """
        self._size += len(chunk)
        *lines, self._rest = (self._rest + chunk).splitlines(keepends=True) or [b""]
        if self._rest.endswith((b"\n", b"\r")):
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            if line.startswith(b"data:") and self._decides(line[5:].strip()):
                return "pass"
        return "pass" if self._size > MOST_HELD_BYTES else "wait"

    def end(self) -> None:
        """Note that the stream is over, and no answer has begun."""
        self.fault = "an empty reply"

    def _decides(self, data: bytes) -> bool:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return True  # [DONE], or something that is the caller's to judge
        if not isinstance(event, dict) or "choices" not in event:
            return self._is_error(event)
        choice = _first_choice(event)
        if _has_answer(choice, "delta"):
            return True
        if choice.get("finish_reason") == GAVE_UP:
            self.fault = GAVE_UP
        return choice.get("finish_reason") is not None

    def _is_error(self, event: object) -> bool:
        if isinstance(event, dict) and _error_in(event):
            self.fault = "an error before the answer"
        return True


def _first_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    return choice if isinstance(choice, dict) else {}


def _has_answer(choice: Mapping[str, Any], part: str) -> bool:
    inner = choice.get(part)
    if isinstance(inner, dict) and any(inner.get(name) for name in ANSWER_PARTS):
        return True
    return bool(choice.get("text"))


def _error_in(body: Mapping[str, Any]) -> bool:
    """Whether a body is an error that is not about the request itself."""
    error = body.get("error")
    if not error or body.get("choices"):
        return False
    kind = error.get("type") if isinstance(error, dict) else ""
    return kind != "invalid_request_error"
