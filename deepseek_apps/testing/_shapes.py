"""JSON that every reply shares: what a chunk repeats, usage, log probabilities, and the bytes of an event."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["DONE", "Head", "dump", "event", "logprob_entries", "usage_of"]

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What every chunk of a reply repeats."""

    id: str
    model: str
    created: int
    fingerprint: str = "fp_fakedeepseek_prod0820_fp8_kvcache_20260402"

    def chunk(self, kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
        """Return one chunk, its members in the API's order."""
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return head | {"system_fingerprint": self.fingerprint, "choices": choices, **more}

    def whole(self, kind: str, choices: list[Any], usage: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole reply, its members in the API's order."""
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return head | {"choices": choices, "usage": usage, "system_fingerprint": self.fingerprint}


def dump(value: object) -> bytes:
    """Serialise as the API does: no blanks, text unescaped (but for lone surrogates, which UTF-8 lacks)."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def event(value: object) -> bytes:
    """Frame one chunk as a server-sent event."""
    return b"data: " + dump(value) + b"\n\n"


def usage_of(prompt: int, hit: int, completion: int, reasoning: int | None = None) -> dict[str, Any]:
    """Return the usage member.

    Args:
        prompt: Tokens of the prompt.
        hit: Those of them that the cache had.
        completion: Generated tokens, reasoning included.
        reasoning: Those of them that are reasoning; None outside thinking mode.
    """
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": hit},
    }
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage | {"prompt_cache_hit_tokens": hit, "prompt_cache_miss_tokens": prompt - hit}


def logprob_entries(texts: Iterable[str], top: int) -> list[dict[str, Any]]:
    """Return log probabilities of pieces the fake is sure of: 0.0, with itself as the one alternative."""
    entries = []
    for text in texts:
        entry = {"token": text, "logprob": 0.0, "bytes": list(text.encode(errors="replace"))}
        entries.append(entry | {"top_logprobs": [entry] if top else []})
    return entries
