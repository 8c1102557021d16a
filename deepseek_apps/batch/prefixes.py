"""How much of a prompt the context cache can hold, because an earlier one began alike.

Works on the text of tools and messages rather than on tokens, which is exact enough for an estimate and does
not tokenise anything twice.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from deepseek_apps.batch.line_checks import BatchRequest

__all__ = ["SharedPrefixes", "prompt_text"]

PIECE = 256
# The API reports hits in multiples of this. https://api-docs.deepseek.com/guides/kv_cache
CACHE_UNIT = 128
# What is rendered before the first message, or into it, and so moves everything behind it.
LEADING_FIELDS = ("reasoning_effort", "thinking", "tools", "response_format", "user_id")


class SharedPrefixes:
    """The beginnings of all prompts so far, as hash chains of short pieces."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def add(self, request: BatchRequest, prompt_tokens: int) -> int:
        """Take a prompt in.

        Args:
            request: The request.
            prompt_tokens: How long its prompt is.

        Returns:
            How many of these tokens it shares with the beginning of an earlier one, in whole cache units.
        """
        data = prompt_text(request).encode("utf-8", "surrogatepass")
        chain, shared, new = b"", 0, False
        for start in range(0, len(data) - PIECE + 1, PIECE):
            chain = hashlib.blake2b(chain + data[start : start + PIECE], digest_size=16).digest()
            new = new or chain not in self._seen
            shared += not new
            self._seen.add(chain)
        tokens = prompt_tokens * shared * PIECE // max(len(data), 1)
        return tokens // CACHE_UNIT * CACHE_UNIT


def prompt_text(request: BatchRequest) -> str:
    """Return the text that makes a request's prompt, in the order in which it is rendered."""
    body: dict[str, Any] = request.body
    if isinstance(prompt := body.get("prompt"), str):
        return f"{prompt}\0{body.get('suffix') or ''}"
    leading = {name: body[name] for name in LEADING_FIELDS if name in body}
    rest = body.get("messages", body.get("input", body.get("prompt")))
    # Messages side by side rather than as one list: a list's bracket would end the shared part too early.
    parts = [leading, *rest] if isinstance(rest, list) else [leading, body.get("instructions"), rest]
    return "\n".join(json.dumps(part, ensure_ascii=False, sort_keys=True) for part in parts)
