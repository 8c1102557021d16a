"""The documented errors of the hosted API, word for word, by status and by name.

Sources: DeepSeek's error-code page and recorded replies of 2026. The texts of 500 and 503 are not recorded;
only their status and shape are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from deepseek_apps.testing.replies import RawReply

__all__ = ["FAILURES", "HttpError", "failure", "invalid_request", "json_error", "plain_error"]

_INVALID = "invalid_request_error"


class HttpError(Exception):
    """A request that is answered with an error."""

    def __init__(self, reply: RawReply) -> None:
        super().__init__(f"status {reply.status}")
        self.reply = reply


def json_error(status: int, message: str, kind: str = _INVALID, code: str = _INVALID) -> RawReply:
    """Build an error in the API's envelope."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return RawReply(parts=(text.encode(errors="replace"),), status=status)


def plain_error(status: int, text: str = "") -> RawReply:
    """Build an error in plain text, as the gateway sends some; without text the body is empty."""
    if not text:
        return RawReply(status=status, content_type="")
    return RawReply(parts=(text.encode(),), status=status, content_type="text/plain; charset=utf-8")


def invalid_request(message: str) -> HttpError:
    """Build the 400 that every fault of a request's content has."""
    return HttpError(json_error(400, message))


def context_overflow(context: int, prompt_tokens: int, completion_tokens: int) -> RawReply:
    """Build the 400 that clients recognise as an overflow."""
    return json_error(
        400,
        f"This model's maximum context length is {context} tokens. However, you requested "
        f"{prompt_tokens + completion_tokens} tokens ({prompt_tokens} in the messages, {completion_tokens} "
        "in the completion). Please reduce the length of the messages or completion.",
    )


def wrong_key(key: str) -> RawReply:
    """Build the 401 that echoes the key's last four characters."""
    return json_error(
        401, f"Authentication Fails, Your api key: ****{key[-4:]} is invalid", "authentication_error"
    )


def over_concurrency(current: int, limit: int) -> RawReply:
    """Build the 429 of an account whose balance allows fewer requests at once."""
    return json_error(
        429,
        f"Your current concurrency is {current}, which exceeds your concurrency limit of {limit} based on "
        "your remaining balance. Please top up your balance to restore your concurrency.",
        "rate_limit_error",
    )


FAILURES: Mapping[str | int, RawReply] = MappingProxyType(
    {
        400: json_error(400, "Empty input messages"),
        401: wrong_key("sk-0000"),
        402: json_error(402, "Insufficient Balance", "unknown_error"),
        404: plain_error(404),
        405: plain_error(405),
        415: plain_error(415, "Expected request with `Content-Type: application/json`"),
        422: json_error(422, "Failed to deserialize the JSON body into the target type"),
        429: over_concurrency(40, 39),
        500: json_error(500, "Internal server error", "server_error", "internal_error"),
        503: json_error(503, "Service is too busy", "server_error", "internal_error"),
        "concurrency": over_concurrency(40, 39),
        "content_risk": json_error(400, "Content Exists Risk"),
        "context_overflow": context_overflow(1_048_576, 1_999_000, 1_000),
        "insufficient_balance": json_error(402, "Insufficient Balance", "unknown_error"),
        "no_key": plain_error(401, "Authentication Fails (governor)"),
        "overloaded": json_error(503, "Service is too busy", "server_error", "internal_error"),
        "reasoning_missing": json_error(
            400, "The `reasoning_content` in the thinking mode must be passed back to the API."
        ),
        "server_error": json_error(500, "Internal server error", "server_error", "internal_error"),
        "tokens_per_minute": json_error(429, "Rate limit reached for TPM", "rate_limit_error"),
        "wrong_key": wrong_key("sk-0000"),
    }
)


def failure(kind: int | str, message: str | None = None) -> RawReply:
    """Return a documented error, or any other status, with its own text or another one.

    Raises:
        ValueError: The name is not one of FAILURES.
    """
    known = FAILURES.get(kind)
    if known is None and isinstance(kind, str):
        names = ", ".join(sorted(name for name in FAILURES if isinstance(name, str)))
        raise ValueError(f"unknown failure {kind!r}; there are {names}, and every HTTP status")
    if known is not None and message is None:
        return known
    status = known.status if known is not None else int(kind)
    return json_error(status, message or f"status {status}", *_kind_and_code(known, status))


def _kind_and_code(known: RawReply | None, status: int) -> tuple[str, str]:
    """Return type and code of a known envelope, or the usual ones of the status."""
    try:
        error = json.loads(b"".join(known.parts if known else ()))["error"]
    except ValueError:
        return ("server_error", "internal_error") if status >= 500 else (_INVALID, _INVALID)
    return error["type"], error["code"]
