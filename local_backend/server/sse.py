"""Framing of server-sent events, as the hosted API writes them. Knows nothing of what is inside."""

from __future__ import annotations

__all__ = ["DONE", "JSON_KEEP_ALIVE", "KEEP_ALIVE", "event"]

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
JSON_KEEP_ALIVE = b"\n"


def event(data: str) -> bytes:
    """Frame one message.

    Args:
        data: One line or several; each becomes a `data:` line, so that a reader joins them with newlines.
    """
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return ("".join(f"data: {line}\n" for line in lines) + "\n").encode()
