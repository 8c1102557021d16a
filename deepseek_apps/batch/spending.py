"""What a batch has cost before, and how many tokens its prompts have."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from deepseek_apps.backends import Target
from deepseek_apps.batch.line_checks import BatchRequest
from deepseek_apps.batch.results import BatchResults
from deepseek_apps.cost import cost_of

__all__ = ["count_prompt_tokens", "spent_before"]


def spent_before(results: BatchResults, target: Target) -> Decimal:
    """Return what the answers in an output have cost, USD: by their usage, model and time.

    Answers that do not say their time count at today's price, and those of unknown models nothing.
    """
    if target.kind == "local":
        return Decimal(0)
    return sum((_cost_of_line(line, target) for _, line in results.rows()), Decimal(0))


def _cost_of_line(line: bytes, target: Target) -> Decimal:
    body = ((json.loads(line).get("response") or {}).get("body")) or {}
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return Decimal(0)
    model, at = str(body.get("model") or ""), _time_of(body)
    cost = cost_of(usage, model=model, at=at, backend=target.kind, price=target.price)
    return Decimal(0) if cost is None else cost.total


def _time_of(body: dict[str, Any]) -> datetime:
    created = body.get("created", body.get("created_at"))
    if isinstance(created, int | float) and 0 < created < 1e11:
        return datetime.fromtimestamp(created, UTC)
    return datetime.now(UTC)


def count_prompt_tokens(request: BatchRequest, model: str) -> int:
    """Return how many tokens a request's prompt has, by DeepSeek's own tokenizer."""
    from deepseek_apps import tokens  # noqa: PLC0415  lazy: loads a tokenizer of 130,000 words

    body = request.body
    if isinstance(body.get("messages"), list):
        return tokens.count_body({**body, "model": model})
    parts = (body.get(name) for name in ("prompt", "suffix", "instructions", "input"))
    return sum(tokens.count_text(_text(part)) for part in parts if part)


def _text(part: object) -> str:
    return part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)
