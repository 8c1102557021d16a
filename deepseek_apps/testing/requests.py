"""One request as the fake got it: the bytes, and what tests ask about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Request", "text_of"]

_BASES = ("/v1", "/beta")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it arrived.

    Attributes:
        method: In capitals.
        path: As in the request line, query included.
        headers: Names in lower case.
        raw: The body's bytes.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes = b""

    @cached_property
    def body(self) -> Any:
        """The body parsed as JSON; None when it is empty or no JSON."""
        try:
            return json.loads(self.raw) if self.raw else None
        except ValueError:
            return None

    @property
    def base(self) -> str:
        """The base the client uses: "", "/v1" or "/beta"."""
        path = urlsplit(self.path).path
        return next((base for base in _BASES if path.startswith(f"{base}/")), "")

    @property
    def route(self) -> str:
        """The path without base and query, such as "/chat/completions"."""
        return urlsplit(self.path).path.removeprefix(self.base)

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return urlsplit(self.path).query

    @property
    def model(self) -> str | None:
        """The model's name as it was sent."""
        name = self._field("model")
        return name if isinstance(name, str) else None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages as they were sent; empty when there are none."""
        messages = self._field("messages")
        return messages if isinstance(messages, list) else []

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools as they were sent; empty when there are none."""
        return self._field("tools") or []

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return bool(self._field("stream"))

    @property
    def last_user_text(self) -> str:
        """The text of the last user message, images left out."""
        users = [message for message in self.messages if message.get("role") == "user"]
        return text_of(users[-1].get("content")) if users else ""

    @property
    def sent(self) -> str:
        """Everything that left the client, to look for what must not be in it."""
        return json.dumps([self.path, dict(self.headers), self.raw.decode(errors="replace")])

    def _field(self, name: str) -> Any:
        return self.body.get(name) if isinstance(self.body, dict) else None


def text_of(content: object) -> str:
    """Return a message content's text: of a string, or of the text parts, joined with a blank line."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n\n".join(text for text in texts if isinstance(text, str))
