"""What requests will take and cost, before any of them is sent: pure sums over token counts and prices.

Assumptions, which the command repeats: the cache holds the longest beginning that a request shares with one
before it in the file, in whole units of 128 tokens; answers are between nothing and `max_tokens`, or the
API's default where a request names none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from deepseek_apps.backends import Target
from deepseek_apps.batch.line_checks import BatchRequest
from deepseek_apps.batch.prefixes import SharedPrefixes
from deepseek_apps.catalog import catalogue, limit
from deepseek_apps.cost import estimate_cost, is_peak, next_change

__all__ = [
    "CountTokens",
    "Estimate",
    "ModelEstimate",
    "Range",
    "estimate_requests",
    "most_output",
    "upper_cost",
]

# Prompt tokens of a request, for the model it goes to.
CountTokens = Callable[[BatchRequest, str], int]
OUTPUT_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the most something can cost, USD."""

    low: Decimal
    high: Decimal


@dataclass(slots=True, kw_only=True)
class ModelEstimate:
    """What the requests for one model take.

    Attributes:
        model: Its name on the wire.
        requests: How many there are.
        prompt_tokens: Of all of them.
        shared_tokens: Prompt tokens that the cache can hold when they come.
        most_output_tokens: Tokens of answers and thinking at the most.
        off_peak, peak: What they cost in and out of peak hours; None for a model without a known price.
    """

    model: str
    requests: int = 0
    prompt_tokens: int = 0
    shared_tokens: int = 0
    most_output_tokens: int = 0
    off_peak: Range | None = None
    peak: Range | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a file of requests takes.

    Attributes:
        models: By model, in the order of their first request.
        at: When it was made.
        is_peak: Whether that is a peak hour.
        until: When that changes.
    """

    models: list[ModelEstimate] = field(default_factory=list)
    at: datetime
    is_peak: bool
    until: datetime


def estimate_requests(
    requests: Iterable[BatchRequest],
    *,
    count: CountTokens,
    default_model: str,
    at: datetime,
    answer_tokens: int | None = None,
    target: Target | None = None,
) -> Estimate:
    """Estimate what requests take.

    Args:
        requests: In the order in which they will be sent.
        count: Counts a request's prompt tokens.
        default_model: Model of those that name none.
        at: Now, with a time zone.
        answer_tokens: Longest answer to assume; None takes each request's own limit.
        target: Who will answer, which sets the price. None is DeepSeek.
    """
    models: dict[str, ModelEstimate] = {}
    prefixes: dict[str, SharedPrefixes] = {}
    for request in requests:
        model = request.model or default_model
        row = models.setdefault(model, ModelEstimate(model=model))
        tokens = count(request, model)
        output = most_output(request, model, tokens)
        row.requests += 1
        row.prompt_tokens += tokens
        row.shared_tokens += prefixes.setdefault(model, SharedPrefixes()).add(request, tokens)
        row.most_output_tokens += output if answer_tokens is None else min(output, answer_tokens)
    peak_now, change = is_peak(at), next_change(at)
    for row in models.values():
        row.off_peak = _range(row, change if peak_now else at, target)
        row.peak = _range(row, at if peak_now else change, target)
    return Estimate(models=list(models.values()), at=at, is_peak=peak_now, until=change)


def most_output(request: BatchRequest, model: str, prompt_tokens: int) -> int:
    """Return how many tokens the answer to a request can have, thinking included."""
    body = request.body
    asked = next((body[name] for name in OUTPUT_FIELDS if isinstance(body.get(name), int)), None)
    facts = catalogue().models.get(catalogue().model_behind(model))
    if asked is None:
        asked = _default_output(request, thinking=facts is not None and facts.thinking)
    room = asked if facts is None else min(facts.max_output, facts.context - prompt_tokens)
    return max(0, min(asked, room))


def upper_cost(
    request: BatchRequest, model: str, prompt_tokens: int, at: datetime, target: Target | None = None
) -> Decimal:
    """Return the most a request can cost when sent now, USD; 0 where no price is known."""
    output = most_output(request, model, prompt_tokens)
    cost = estimate_cost(model, prompt_tokens, output, at, **_pricing(target))
    return Decimal(0) if cost is None else cost.total


def _default_output(request: BatchRequest, *, thinking: bool) -> int:
    body: dict[str, Any] = request.body
    if request.route == "completions":
        return limit("fim_max_tokens")
    switch = body.get("thinking")
    off = isinstance(switch, dict) and switch.get("type") == "disabled"
    if off or not thinking:
        return limit("default_max_tokens")
    return limit("default_max_tokens_thinking") * (2 if body.get("reasoning_effort") == "max" else 1)


def _pricing(target: Target | None) -> dict[str, Any]:
    return {} if target is None else {"backend": target.kind, "price": target.price}


def _range(row: ModelEstimate, at: datetime, target: Target | None) -> Range | None:
    prompt, shared, pricing = row.prompt_tokens, row.shared_tokens, _pricing(target)
    low = estimate_cost(row.model, prompt, 0, at, cached_tokens=shared, **pricing)
    high = estimate_cost(row.model, prompt, row.most_output_tokens, at, **pricing)
    return None if low is None or high is None else Range(low.total, high.total)
