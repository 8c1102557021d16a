"""Completions in the middle as the API's beta route sends them; hand-written from its documentation."""

from __future__ import annotations

import json
from typing import Any

from fake_deepseek import KEEP_ALIVE, USAGE, Reply, event_stream

BALANCE = {
    "is_available": True,
    "balance_infos": [
        {
            "currency": "CNY",
            "total_balance": "110.00",
            "granted_balance": "10.00",
            "topped_up_balance": "100.00",
        }
    ],
}


def fim_body(text: str, finish_reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    """One body, whole or a piece."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    head = {"id": "fim-1", "object": "text_completion", "created": 1790000000, "model": "deepseek-flash"}
    usage = {"usage": USAGE} if finish_reason else {}
    return head | {"choices": [choice], "system_fingerprint": "fp_fake"} | usage | more


def fim_reply(text: str, finish_reason: str | None = "stop", **more: Any) -> Reply:
    """A whole completion."""
    return Reply((json.dumps(fim_body(text, finish_reason, **more)).encode(),))


def fim_stream(*texts: str, finish_reason: str = "stop") -> Reply:
    """A streamed completion; usage is on its last piece."""
    pieces = [fim_body(text, None) for text in texts] + [fim_body("", finish_reason)]
    events = [f"data: {json.dumps(piece)}\n\n".encode() for piece in pieces]
    return event_stream(KEEP_ALIVE, *events, b"data: [DONE]\n\n")


def balance_reply(body: Any = None) -> Reply:
    """What `GET /user/balance` answers, after the blank lines of a queued request."""
    return Reply((b"\n\n", json.dumps(BALANCE if body is None else body).encode()))
