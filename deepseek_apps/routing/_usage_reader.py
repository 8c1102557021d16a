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
ERRORS = (b'\ndata: {"error"', b'\ndata:{"error"', b"\nevent: error")
ENDS = (
    b"\ndata: [DONE]",
    b"\ndata:[DONE]",
    b'"response.completed"',
    b'"response.incomplete"',
    b'"message_stop"',
)
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

    def feed(self, data: bytes) -> None:
        """Look at the lines that end in these bytes."""
        if self._rest:
            data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:] if len(data) - end <= LONGEST else b""
        # No JSON holds a line end, so what follows one is a field of an event and no answer's text.
        lines = b"\n" + data[:end]
        self.events += lines.count(b"data:")
        if USAGE in lines:
            self._read_usage(lines)
        if not self.complete and any(mark in lines for mark in ENDS):
            self.complete = True
        if not self.failed and any(mark in lines for mark in ERRORS):
            self.failed = True

    def finish(self) -> None:
        """Look at a last line without an end."""
        self.feed(b"\n")

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
