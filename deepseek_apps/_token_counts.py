"""Token counts of one call, read from whatever form a backend or a framework reports them in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TokenCounts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounts:
    """What was read and written; parts are never larger than what they are part of.

    Attributes:
        prompt: All prompt tokens.
        hit: Those found in the context cache.
        output: Generated tokens, thinking included.
        reasoning: The thinking among them.
    """

    prompt: int = 0
    hit: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def miss(self) -> int:
        """Prompt tokens that were not in the cache."""
        return self.prompt - self.hit

    @classmethod
    def from_usage(cls, usage: Mapping[str, Any]) -> TokenCounts:
        """Read the usage of chat and FIM answers, of the Responses and Messages dialects, or of LangChain.

        What is missing, None or no number is 0. In the Messages dialect alone the prompt's count leaves out
        what was cached; it is added here.
        """
        prompt_details = _part(usage, "prompt_tokens_details", "input_tokens_details", "input_token_details")
        output_details = _part(
            usage, "completion_tokens_details", "output_tokens_details", "output_token_details"
        )
        prompt = _count(usage, "prompt_tokens", "input_tokens")
        hit = _count(usage, "prompt_cache_hit_tokens") or _count(
            prompt_details, "cached_tokens", "cache_read"
        )
        miss = _count(usage, "prompt_cache_miss_tokens")
        if "cache_read_input_tokens" in usage and "prompt_tokens" not in usage:
            hit = _count(usage, "cache_read_input_tokens")
            prompt += hit + _count(usage, "cache_creation_input_tokens")
        prompt = prompt or hit + miss
        output = _count(usage, "completion_tokens", "output_tokens")
        reasoning = _count(output_details, "reasoning_tokens", "reasoning")
        return cls(prompt=prompt, hit=min(hit, prompt), output=output, reasoning=min(reasoning, output))


def _part(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((part for name in names if isinstance(part := usage.get(name), Mapping)), {})


def _count(usage: Mapping[str, Any], *names: str) -> int:
    """Return the first of these fields that holds a count."""
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0
