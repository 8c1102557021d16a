"""Finds usage and model in an answer that passes by, without parsing what holds neither.

Whole JSON bodies are parsed once; of a stream only lines that hold a usage object are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["BodyReader", "StreamReader", "UsageReader"]

USAGE = b'"usage"'
NO_USAGE = (b'"usage":null', b'"usage": null')
ERROR = b'"error"'
ERROR_LINES = (b'data: {"error"', b'data:{"error"', b"event: error")
END_LINES = (b"data: [DONE]", b"data:[DONE]")
END_NAMES = (b'"response.completed"', b'"response.incomplete"', b'"message_stop"')
# Longer lines are no usage events; longer bodies are not held in memory for their token counts.
LONGEST = 16_000_000


class UsageReader(Protocol):
    """What is known of an answer so far."""

    usage: dict[str, Any]
    model: str
    complete: bool
    failed: bool
    events: int

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """Take note that there are no more."""


class BodyReader:
    """Reads a whole JSON body; blank lines before it keep the connection alive."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] = {}
        self.model = ""
        self.complete = False
        self.failed = False
        self.events = 0
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Keep the bytes."""
        self._size += len(data)
        if self._size <= LONGEST:
            self._parts.append(data)

    def finish(self) -> None:
        """Parse them."""
        self.complete = True
        body = _parse(b"".join(self._parts))
        self.failed = "error" in body and "usage" not in body
        self.usage, self.model = _usage(body), _model(body)


class StreamReader:
    """Reads server-sent events of the chat, FIM, Responses and Messages dialects, however they are cut."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] = {}
        self.model = ""
        self.complete = False
        self.failed = False
        self.events = 0
        self._rest = b""
        self._last = (b"", b"")

    def feed(self, data: bytes) -> None:
        """Look at the lines that end in these bytes."""
        # This runs for every token. Inside JSON a quote is escaped, so these names are fields and no text.
        lines = data
        if self._rest or not data.endswith(b"\n"):
            data = self._rest + data
            end = data.rfind(b"\n") + 1
            lines, self._rest = data[:end], data[end:] if len(data) - end <= LONGEST else b""
        self.events += lines.count(b"data:")
        self._last = (self._last[1], lines)
        if USAGE in lines:
            self._read_usage(lines)
        if ERROR in lines and any(_begins_line(mark, b"".join(self._last)) for mark in ERROR_LINES):
            self.failed = True

    def finish(self) -> None:
        """Look at a last line without an end, and at whether the last events end the answer."""
        if self._rest:
            self.feed(b"\n")
        last = b"".join(self._last)
        self.complete = any(name in last for name in END_NAMES) or any(
            _begins_line(line, last) for line in END_LINES
        )

    def _read_usage(self, lines: bytes) -> None:
        for line in lines.split(b"\n"):
            if USAGE not in line or any(mark in line for mark in NO_USAGE):
                continue
            event = _parse(line.partition(b":")[2])
            # The Responses and Messages dialects have it one level down.
            for holder in (event, event.get("response"), event.get("message")):
                if isinstance(holder, dict):
                    self.usage.update(_usage(holder))
                    self.model = _model(holder) or self.model


def _begins_line(mark: bytes, lines: bytes) -> bool:
    return lines.startswith(mark) or b"\n" + mark in lines


def _parse(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _usage(body: Mapping[str, Any]) -> dict[str, Any]:
    usage = body.get("usage")
    return (
        {key: value for key, value in usage.items() if value is not None} if isinstance(usage, dict) else {}
    )


def _model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    return model if isinstance(model, str) else ""
