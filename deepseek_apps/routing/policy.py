"""Where a request goes, and where to if that fails: a pure decision over what is known beforehand.

No clock, no network, no settings: `candidates` come in the user's order of preference, already priced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from deepseek_apps.backends import BackendName
from deepseek_apps.routing.breaker import BreakerState

__all__ = ["Candidate", "Decision", "Policy", "RequestFacts", "RouteKind", "decide"]

Policy: TypeAlias = Literal["exact", "auto", "cheapest", "private"]
RouteKind: TypeAlias = Literal["chat", "fim", "generation", "models", "balance", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What a request asks for.

    Attributes:
        kind: Its route: chat, fim (completion in the middle), generation (another dialect's route), models,
            balance, or anything else.
        model: Model it names.
        prompt_tokens: Estimated size of the prompt; see facts.py.
        max_tokens: Longest answer it allows; None leaves that to the backend.
        has_images: Whether it shows images.
        thinking: Whether thinking may come first.
        stream: Whether the answer comes in pieces.
        affinity: The same for requests that begin alike, so that a prefix cache can help; empty is none.
    """

    kind: RouteKind = "chat"
    model: str | None = None
    prompt_tokens: int = 0
    max_tokens: int | None = None
    has_images: bool = False
    thinking: bool = True
    stream: bool = False
    affinity: str = ""

    @property
    def generates(self) -> bool:
        """Whether a model answers it."""
        return self.kind in {"chat", "fim", "generation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What may answer this request.

    Attributes:
        label: hosted, local, server, or server:NAME.
        kind: Which kind of backend.
        cost: Estimated US dollars for this very request; None is unknown.
        context: Longest prompt and answer in tokens; None is unknown.
        images: Whether it sees images; None is unknown.
        on_this_machine: Whether no byte leaves the machine.
        ready: Whether it can answer without first fetching a model.
        breaker: State of its circuit breaker.
    """

    label: str
    kind: BackendName
    cost: float | None = None
    context: int | None = None
    images: bool | None = None
    on_this_machine: bool = False
    ready: bool = True
    breaker: BreakerState = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whom to ask.

    Attributes:
        order: Indices of candidates, first choice first; the others are asked if it fails.
        skipped: Labels of those left out, with the reason.
    """

    order: tuple[int, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def decide(policy: Policy, candidates: Sequence[Candidate], facts: RequestFacts) -> Decision:
    """Order the candidates for a request.

    `private` never returns one that is not on this machine. Otherwise, if none can serve the request, the
    first choice is asked alone, so that the caller reads its own refusal. One whose circuit breaker is open
    comes after the others: better than nothing.

    Args:
        policy: exact: the first and no other. auto: in the order given. cheapest: by cost, unknown last,
            equal ones in the order given. private: as auto, on this machine.
        candidates: In order of preference.
        facts: What is asked for.
    """
    allowed = [i for i, one in enumerate(candidates) if policy != "private" or one.on_this_machine]
    skipped = [(one.label, "not on this machine") for i, one in enumerate(candidates) if i not in allowed]
    if policy == "exact" or not (facts.generates or facts.kind in {"models", "balance"}):
        return Decision(order=tuple(allowed[:1]), skipped=tuple(skipped))
    fit = []
    for i in allowed:
        if reason := _unfit(candidates[i], facts):
            skipped.append((candidates[i].label, reason))
        else:
            fit.append(i)
    if policy == "cheapest":
        fit.sort(key=lambda i: _cost_order(candidates[i].cost))
    fit.sort(key=lambda i: candidates[i].breaker == "open")
    return Decision(order=tuple(fit or allowed[:1]), skipped=tuple(skipped))


def _unfit(candidate: Candidate, facts: RequestFacts) -> str:
    """Return why a candidate cannot serve a request; empty if nothing is known against it."""
    if facts.kind == "balance":
        return "" if candidate.kind == "hosted" else "has no account"
    if not facts.generates:
        return ""
    if not candidate.ready:
        return "its model is not on this machine"
    if facts.has_images and candidate.images is False:
        return "sees no images"
    if candidate.context is not None and _needed(facts) > candidate.context:
        return f"its context is {candidate.context} tokens"
    return ""


def _needed(facts: RequestFacts) -> int:
    # Without a max_tokens the answer is cut to what is left, as long as the prompt leaves anything.
    return facts.prompt_tokens + (facts.max_tokens or 1)


def _cost_order(cost: float | None) -> tuple[bool, float]:
    return cost is None, cost or 0.0
