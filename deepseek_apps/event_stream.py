"""Server-sent events of a chat stream, as JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from deepseek_apps.errors import UnreachableError

__all__ = ["read_events"]

DONE = "[DONE]"


def read_events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the data of each event; keep-alive comments and blank lines are skipped, `[DONE]` ends it.

    Args:
        lines: Lines of the body, without their ends.

    Raises:
        UnreachableError: An event is not a JSON object, or the stream ends without `[DONE]`.
    """
    for line in lines:
        field, _, value = line.partition(":")
        if field != "data":
            continue
        data = value.strip()
        if data == DONE:
            return
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise UnreachableError(
                f"the stream holds something that is not a JSON object: {data[:80]!r}",
                help_message="Check that base_url is the address of a chat-completions API.",
            )
        yield event
    raise UnreachableError(
        "the answer broke off: the stream ended without [DONE]",
        help_message="Ask again; what arrived is kept.",
    )
