"""The sampler's distributions, log probabilities and random streams, with fixed seeds."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor

from local_backend.engine.sampler import NUCLEUS_CANDIDATES, Sampler, sample_row
from local_backend.errors import RequestError, UnsupportedParameterError
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence, TokenConstraint

IDS = count()
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0, float("-inf"), 1.5])
DRAWS = 4_000


def sequence(constraint: TokenConstraint | None = None, **params: Any) -> Sequence:
    return Sequence(
        seq_id=next(IDS),
        token_ids=[1],
        num_prompt_tokens=1,
        params=SamplingParams(**params),
        constraint=constraint,
    )


def frequencies(logits: Tensor, **params: Any) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    chosen = SamplingParams(**params)
    draws = torch.tensor([sample_row(logits, chosen, generator) for _ in range(DRAWS)])
    return torch.bincount(draws, minlength=logits.numel()) / DRAWS


def assert_distribution(observed: Tensor, expected: Tensor) -> None:
    """Chi-square over the possible tokens, below the 99.9 % point for 7 degrees of freedom."""
    possible = expected > 0
    assert float(observed[~possible].sum()) == 0
    difference = observed[possible] - expected[possible]
    assert float((difference**2 / expected[possible]).sum()) * DRAWS < 24.3


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """The shortest list of best tokens whose mass reaches top_p, renormalised."""
    kept, mass = torch.zeros_like(probabilities), 0.0
    for index in probabilities.argsort(descending=True, stable=True):
        if mass < top_p:
            kept[index] = probabilities[index]
            mass += float(probabilities[index])
    return kept / kept.sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_temperature(temperature: float) -> None:
    assert_distribution(frequencies(LOGITS, temperature=temperature), torch.softmax(LOGITS / temperature, -1))


@pytest.mark.parametrize("top_k", [1, 3, 100])
def test_top_k(top_k: int) -> None:
    best = LOGITS.topk(min(top_k, 7))
    expected = torch.zeros(8).scatter_(0, best.indices, torch.softmax(best.values, -1))
    assert_distribution(frequencies(LOGITS, top_k=top_k), expected)


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 0.999])
def test_top_p(top_p: float) -> None:
    assert_distribution(frequencies(LOGITS, top_p=top_p), nucleus(torch.softmax(LOGITS, -1), top_p))


def test_top_k_then_top_p() -> None:
    best = LOGITS.topk(4)
    four = torch.zeros(8).scatter_(0, best.indices, torch.softmax(best.values, -1))
    assert_distribution(frequencies(LOGITS, top_k=4, top_p=0.7), nucleus(four, 0.7))


@pytest.mark.parametrize(("spread", "top_p"), [(8.0, 0.9), (0.01, 0.9), (1.0, 0.5)])
def test_nucleus_of_a_large_vocabulary(spread: float, top_p: float) -> None:
    """Narrow and wider than the candidates that are looked at first."""
    logits = torch.randn(8 * NUCLEUS_CANDIDATES, generator=torch.Generator().manual_seed(2)) * spread
    inside = nucleus(torch.softmax(logits, -1), top_p) > 0
    generator = torch.Generator().manual_seed(3)
    params = SamplingParams(top_p=top_p)
    draws = [sample_row(logits, params, generator) for _ in range(120)]
    assert all(bool(inside[token]) for token in draws)
    if int(inside.sum()) > 100:
        assert len(set(draws)) > 40


def test_greedy_takes_the_first_of_equals() -> None:
    assert sample_row(torch.tensor([0.0, 3.0, 3.0, 1.0]), SamplingParams(temperature=0), None) == 1


@pytest.mark.parametrize("temperature", [1e-5, 1e-30, 1e-300])
def test_tiny_temperatures_are_greedy(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    params = SamplingParams(temperature=temperature)
    assert {sample_row(LOGITS * 100, params, generator) for _ in range(20)} == {0}


def test_logprobs_are_of_the_model_and_not_of_the_sampling() -> None:
    forbid_best = Forbid({0})
    seq = sequence(forbid_best, temperature=0.3, top_k=2, seed=0, logprobs=3)
    sampled = Sampler().sample(seq, LOGITS.clone())
    wanted = torch.log_softmax(LOGITS, -1)
    assert sampled.logprob is not None
    assert sampled.logprob.logprob == pytest.approx(float(wanted[sampled.token_id]))
    assert [token for token, _ in sampled.logprob.top] == [0, 7, 1]
    assert [value for _, value in sampled.logprob.top] == pytest.approx(wanted[[0, 7, 1]].tolist())


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (20, 8)])
def test_number_of_alternatives(asked: int, given: int) -> None:
    sampled = Sampler().sample(sequence(temperature=0, logprobs=asked), LOGITS.clone())
    assert sampled.logprob is not None
    assert len(sampled.logprob.top) == given


def test_no_logprobs_unless_asked() -> None:
    assert Sampler().sample(sequence(temperature=0), LOGITS.clone()).logprob is None


class Forbid:
    """Forbids some tokens and remembers what it was told."""

    finished = False

    def __init__(self, tokens: set[int]) -> None:
        self.tokens = sorted(tokens)
        self.taken: list[int] = []

    def mask_logits(self, logits: Tensor) -> None:
        logits[self.tokens] = float("-inf")

    def advance(self, token_id: int) -> None:
        self.taken.append(token_id)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_constraint_narrows_and_is_told(temperature: float) -> None:
    forbid = Forbid({0, 1, 2, 3, 7})
    seq = sequence(forbid, temperature=temperature, seed=1)
    tokens = [Sampler().sample(seq, LOGITS.clone()).token_id for _ in range(20)]
    assert set(tokens) <= {4, 5}
    assert forbid.taken == tokens


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_constraint_without_a_way_out_is_the_requests_error(temperature: float) -> None:
    seq = sequence(Forbid(set(range(8))), temperature=temperature)
    with pytest.raises(RequestError, match="forbids every token"):
        Sampler().sample(seq, LOGITS.clone())


def test_inference_tensors_can_be_masked() -> None:
    with torch.inference_mode():
        logits = LOGITS * 1
    assert Sampler().sample(sequence(Forbid({0}), temperature=0), logits).token_id == 7


def stream(sampler: Sampler, seq: Sequence, length: int = 12) -> list[int]:
    return [sampler.sample(seq, LOGITS.clone()).token_id for _ in range(length)]


def test_seeded_streams_do_not_see_each_other() -> None:
    sampler = Sampler()
    alone = stream(Sampler(), sequence(seed=4))
    mine, other = sequence(seed=4), sequence(seed=9)
    mixed = []
    for _ in range(12):
        stream(sampler, other, 1)
        mixed += stream(sampler, mine, 1)
    assert mixed == alone
    assert stream(Sampler(), sequence(seed=5)) != alone


def test_unseeded_streams_differ() -> None:
    sampler = Sampler()
    assert stream(sampler, sequence(), 40) != stream(sampler, sequence(), 40)


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**63, 2**64 - 1, 10**30])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert stream(Sampler(), sequence(seed=seed)) == stream(Sampler(), sequence(seed=seed))


def test_forget_drops_the_stream() -> None:
    sampler, seq = Sampler(), sequence(seed=1)
    first = stream(sampler, seq)
    sampler.forget(seq)
    sampler.forget(seq)
    assert stream(sampler, seq) == first


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_k", -1),
        ("max_tokens", 0),
        ("logprobs", 21),
    ],
)
def test_values_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(UnsupportedParameterError, match=name) as caught:
        SamplingParams(**{name: value})
    assert name in caught.value.help_message
