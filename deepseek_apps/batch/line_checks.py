"""What is wrong with one line of a batch file: pure checks of text, made before anything is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ROUTES", "BatchRequest", "LineError", "check_messages", "parse_line"]

# The URLs of OpenAI's batch format, and DeepSeek's own, to the route below a backend's address. The hosted
# backend sends the completions it must to its beta address by itself.
ROUTES: Mapping[str, str] = {
    "/v1/chat/completions": "chat/completions",
    "/chat/completions": "chat/completions",
    "/beta/chat/completions": "chat/completions",
    "/v1/completions": "completions",
    "/completions": "completions",
    "/beta/completions": "completions",
    "/v1/responses": "responses",
    "/responses": "responses",
}
REQUIRED = {"chat/completions": "messages", "completions": "prompt", "responses": "input"}


class LineError(ValueError):
    """A line that cannot be sent; the text says why, and the caller adds which line it is."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of a batch.

    Attributes:
        custom_id: The caller's name for it, unique in the file.
        route: Path below a backend's address, such as "chat/completions".
        body: What is sent, in wire form.
    """

    custom_id: str
    route: str
    body: dict[str, Any]

    @property
    def model(self) -> str | None:
        """Model the body names, if it does."""
        return self.body.get("model")


def parse_line(line: bytes) -> BatchRequest:
    """Return the request on a line in OpenAI's batch format.

    Raises:
        LineError: It is not JSON, or not a request that can be sent.
    """
    row = _load(line)
    if not isinstance(row, dict):
        raise LineError("not a JSON object")
    custom_id = row.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        raise LineError(
            "custom_id is missing" if custom_id is None else f"custom_id is {custom_id!r}, not text"
        )
    if (method := row.get("method", "POST")) != "POST":
        raise LineError(f"method is {method!r}, not 'POST'")
    url = row.get("url")
    if not isinstance(url, str) or url not in ROUTES:
        raise LineError(f"url is {url!r}, not one of /v1/chat/completions, /v1/completions, /v1/responses")
    body = row.get("body")
    if not isinstance(body, dict):
        raise LineError("body is missing" if body is None else "body is not a JSON object")
    _check_body(ROUTES[url], body)
    return BatchRequest(custom_id, ROUTES[url], body)


def _load(line: bytes) -> object:
    try:
        text = line.decode("utf-8")
        value: object = json.loads(text, parse_constant=_refuse_constant)
    except LineError:
        raise
    except UnicodeDecodeError as error:
        raise LineError(f"not UTF-8: byte 0x{line[error.start]:02x} at position {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise LineError(f"not JSON: {error}") from None
    # An escaped surrogate without its partner is JSON and no text; no backend takes it.
    if re.search(r"\\u[dD][89a-fA-F]", text) and re.search(
        "[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)
    ):
        raise LineError("holds a lone surrogate (\\ud800 to \\udfff), which is no text")
    return value


def _refuse_constant(name: str) -> object:
    raise LineError(f"not JSON: {name}")


def _check_body(route: str, body: Mapping[str, Any]) -> None:
    if body.get("stream"):
        raise LineError("body asks for a stream, which a batch cannot keep; leave stream out")
    if not isinstance(body.get("model", ""), str):
        raise LineError(f"model is {body['model']!r}, not text")
    field = REQUIRED[route]
    if field not in body:
        raise LineError(f"body has no {field}")
    if field == "messages":
        check_messages(body["messages"])
    elif not isinstance(body[field], str | list):
        raise LineError(f"{field} is neither text nor a list")


def check_messages(messages: object) -> None:
    """Let a list of messages pass.

    Raises:
        LineError: It is none.
    """
    if not isinstance(messages, list) or not messages:
        raise LineError("messages is not a list of messages")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise LineError(f"message {number} has no role")
