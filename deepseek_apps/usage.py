"""Token counts of a reply, from the names that servers give them to LangChain's.

Counts only; what they cost is `deepseek_apps.cost`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata

__all__ = ["usage_metadata"]


def usage_metadata(usage: Mapping[str, Any]) -> UsageMetadata:
    """Return LangChain's form of a reply's `usage`.

    Cache hits are part of the prompt's tokens: DeepSeek names them twice, as `prompt_cache_hit_tokens` and as
    `prompt_tokens_details.cached_tokens`, and they are counted once. Counts that a server leaves out, or
    sends as null, are 0 in the totals and absent from the details; a detail never exceeds the total it is a
    part of.

    Args:
        usage: The `usage` object of a chat completion, in DeepSeek's, OpenAI's, vLLM's or SGLang's form.

    Returns:
        Input, output and total tokens, with `cache_read` and `reasoning` where the server said so.
    """
    prompt_details = _mapping(usage.get("prompt_tokens_details"))
    completion_details = _mapping(usage.get("completion_tokens_details"))
    hit = _first(usage.get("prompt_cache_hit_tokens"), prompt_details.get("cached_tokens"))
    miss = _count(usage.get("prompt_cache_miss_tokens"))
    input_tokens = _count(usage.get("prompt_tokens"))
    if input_tokens is None:
        input_tokens = (hit or 0) + (miss or 0)
    output_tokens = _count(usage.get("completion_tokens")) or 0
    reasoning = _first(completion_details.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    total_tokens = _count(usage.get("total_tokens"))
    counts = UsageMetadata(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens if total_tokens is None else total_tokens,
        input_token_details=InputTokenDetails(),
        output_token_details=OutputTokenDetails(),
    )
    if hit is not None:
        counts["input_token_details"]["cache_read"] = min(hit, input_tokens)
    if reasoning is not None:
        counts["output_token_details"]["reasoning"] = min(reasoning, output_tokens)
    return counts


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(*values: object) -> int | None:
    """Return the first of several names for one count that is there."""
    return next((count for count in map(_count, values) if count is not None), None)


def _count(value: object) -> int | None:
    return max(0, int(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None
