"""The routing decision, whatever the candidates: who is asked, in which order, and who never is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.routing.policy import Candidate, Decision, RequestFacts, decide

CANDIDATES = st.lists(
    st.builds(
        Candidate,
        label=st.sampled_from(["hosted", "local", "server:a", "server:b"]),
        kind=st.sampled_from(["hosted", "local", "server"]),
        cost=st.none() | st.floats(0, 10),
        context=st.none() | st.integers(1, 1000),
        images=st.none() | st.booleans(),
        on_this_machine=st.booleans(),
        ready=st.booleans(),
        breaker=st.sampled_from(["closed", "open", "half-open"]),
    ),
    min_size=1,
    max_size=5,
)
FACTS = st.builds(
    RequestFacts,
    kind=st.sampled_from(["chat", "fim", "generation", "models", "balance", "other"]),
    prompt_tokens=st.integers(0, 2000),
    max_tokens=st.none() | st.integers(1, 500),
    has_images=st.booleans(),
)
POLICIES = st.sampled_from(["exact", "auto", "cheapest", "private"])


def fits(one: Candidate, facts: RequestFacts) -> bool:
    if facts.kind == "balance":
        return one.kind == "hosted"
    room = one.context is None or facts.prompt_tokens + (facts.max_tokens or 1) <= one.context
    return not facts.generates or (one.ready and room and not (facts.has_images and one.images is False))


@given(POLICIES, CANDIDATES, FACTS)
def test_everyone_is_asked_at_most_once_or_said_to_be_skipped(policy, candidates, facts) -> None:
    decision: Decision = decide(policy, candidates, facts)
    assert len(set(decision.order)) == len(decision.order) <= len(candidates)
    assert all(label in {one.label for one in candidates} for label, _ in decision.skipped)


@given(CANDIDATES, FACTS)
def test_private_never_leaves_the_machine(candidates, facts) -> None:
    assert all(candidates[i].on_this_machine for i in decide("private", candidates, facts).order)


@given(CANDIDATES, FACTS)
def test_exact_is_the_first_and_no_other(candidates, facts) -> None:
    assert decide("exact", candidates, facts).order == (0,)


@given(st.sampled_from(["auto", "cheapest"]), CANDIDATES, FACTS)
def test_somebody_is_always_asked_and_fit_ones_are_all_that_are(policy, candidates, facts) -> None:
    order = decide(policy, candidates, facts).order
    fit = [i for i, one in enumerate(candidates) if fits(one, facts)]
    assert order
    if facts.kind != "other":
        assert set(order) == set(fit) if fit else order == (0,)


@given(CANDIDATES, FACTS)
def test_auto_keeps_the_given_order_but_for_open_breakers(candidates, facts) -> None:
    order = decide("auto", candidates, facts).order
    assert list(order) == sorted(order, key=lambda i: (candidates[i].breaker == "open", i))


@given(CANDIDATES, FACTS)
def test_cheapest_goes_up_in_cost_and_ties_keep_their_order(candidates, facts) -> None:
    if facts.kind == "other":
        return
    order = decide("cheapest", candidates, facts).order

    def key(i: int) -> tuple[bool, float, int]:
        cost = candidates[i].cost
        return candidates[i].breaker == "open", float("inf") if cost is None else cost, i

    assert list(order) == sorted(order, key=key)
