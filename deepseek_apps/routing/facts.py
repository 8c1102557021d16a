"""What the router wants to know of a request, read from its path and body without a tokenizer.

Sizes are estimates: DeepSeek's own rule of thumb is 0.3 tokens for an English character and 0.6 for a Chinese
one (https://api-docs.deepseek.com/quick_start/token_usage, 2026-11).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from deepseek_apps.routing.policy import RequestFacts, RouteKind

__all__ = ["parse_body", "read_facts"]

ASCII_TOKENS = 0.3
OTHER_TOKENS = 0.6
IMAGE_TOKENS = 1000  # the order of magnitude; the exact number depends on its size
IMAGE_PARTS = ("image_url", "input_image", "image")
LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
PROMPT_FIELDS = ("messages", "prompt", "suffix", "input", "instructions", "system", "tools", "functions")
ROUTES: Mapping[str, RouteKind] = {
    "/chat/completions": "chat",
    "/completions": "fim",
    "/responses": "generation",
    "/messages": "generation",
    "/user/balance": "balance",
}
FIM_AFFINITY_CHARACTERS = 1000


def parse_body(content: bytes) -> dict[str, Any]:
    """Return a JSON body; anything else is empty."""
    try:
        body = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def read_facts(method: str, path: str, body: Mapping[str, Any]) -> RequestFacts:
    """Return what a request asks for.

    Args:
        method: Of HTTP.
        path: With or without the prefix of its base address.
        body: As from `parse_body`.
    """
    kind = _kind(method, path)
    if kind not in {"chat", "fim", "generation"}:
        return RequestFacts(kind=kind)
    model = body.get("model")
    texts = [text for name in PROMPT_FIELDS for text in _texts(body.get(name))]
    images = sum(text is None for text in texts)
    lengths = [body.get(name) for name in LENGTH_FIELDS]
    return RequestFacts(
        kind=kind,
        model=model if isinstance(model, str) else None,
        prompt_tokens=_tokens(texts),
        max_tokens=next((n for n in lengths if isinstance(n, int) and not isinstance(n, bool)), None),
        has_images=images > 0,
        thinking=_member(body.get("thinking"), "type") != "disabled",
        stream=body.get("stream") is True,
        affinity=_affinity(body),
    )


def _kind(method: str, path: str) -> RouteKind:
    if method == "GET" and path.endswith("/models"):
        return "models"
    return next((kind for ending, kind in ROUTES.items() if path.endswith(ending)), "other")


def _texts(value: object) -> Iterator[str | None]:
    """Yield every text inside a part of a body, and None for each image in place of its data."""
    left = [value]
    while left:  # not by recursion: bodies may be nested deeper than Python's stack
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            left += item
        elif isinstance(item, dict):
            if item.get("type") in IMAGE_PARTS:
                yield None
            else:
                left += [*item.keys(), *item.values()]


def _tokens(texts: list[str | None]) -> int:
    total = 0.0
    for text in texts:
        if text is None:
            total += IMAGE_TOKENS
        elif text.isascii():
            total += ASCII_TOKENS * len(text)
        else:
            plain = sum(map(str.isascii, text))
            total += ASCII_TOKENS * plain + OTHER_TOKENS * (len(text) - plain)
    return int(total)


def _affinity(body: Mapping[str, Any]) -> str:
    """Digest what a conversation keeps from turn to turn: tools, system prompt, first question."""
    messages = body.get("messages")
    if isinstance(messages, list):
        first: list[object] = []
        for message in messages:
            first.append(message)
            if _member(message, "role") not in ("system", "developer"):
                break
        start: list[object] = [body.get("model"), body.get("tools"), first]
    elif isinstance(prompt := body.get("prompt"), str):
        start = [body.get("model"), prompt[:FIM_AFFINITY_CHARACTERS]]
    else:
        return ""
    return hashlib.blake2b(json.dumps(start, sort_keys=True).encode(), digest_size=16).hexdigest()


def _member(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None
