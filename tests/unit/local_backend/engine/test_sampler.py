"""The sampler's distributions, log probabilities and random streams, with fixed seeds."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from local_backend.engine.sampler import Sampler
from local_backend.engine.sampling import Floats, best_ids, log_probabilities, sample_row
from local_backend.errors import RequestError, UnsupportedParameterError
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence, TokenConstraint

IDS = count()
LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0, -np.inf, 1.5], np.float32)
DRAWS = 4_000


def sequence(constraint: TokenConstraint | None = None, **params: Any) -> Sequence:
    return Sequence(
        seq_id=next(IDS),
        token_ids=[1],
        num_prompt_tokens=1,
        params=SamplingParams(**params),
        constraint=constraint,
    )


def softmax(logits: Floats) -> Floats:
    return np.exp(log_probabilities(logits))


def frequencies(logits: Floats, **params: Any) -> Floats:
    generator = np.random.default_rng(5)
    chosen = SamplingParams(**params)
    draws = [sample_row(logits, chosen, generator) for _ in range(DRAWS)]
    return (np.bincount(draws, minlength=logits.size) / DRAWS).astype(np.float32)


def assert_distribution(observed: Floats, expected: Floats) -> None:
    """Chi-square over the possible tokens, below the 99.9 % point for 7 degrees of freedom."""
    possible = expected > 0
    assert observed[~possible].sum() == 0
    difference = observed[possible] - expected[possible]
    assert (difference**2 / expected[possible]).sum() * DRAWS < 24.3


def nucleus(probabilities: Floats, top_p: float) -> Floats:
    """The shortest list of best tokens whose mass reaches top_p, renormalised."""
    kept, mass = np.zeros_like(probabilities), 0.0
    for index in np.argsort(-probabilities, kind="stable"):
        if mass < top_p:
            kept[index] = probabilities[index]
            mass += float(probabilities[index])
    return kept / kept.sum()


def only(ids: list[int]) -> Floats:
    """Probabilities when only these tokens are kept."""
    return softmax(np.where(np.isin(np.arange(LOGITS.size), ids), LOGITS, np.float32(-np.inf)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_temperature(temperature: float) -> None:
    expected = softmax(LOGITS / np.float32(temperature))
    assert_distribution(frequencies(LOGITS, temperature=temperature), expected)


@pytest.mark.parametrize("top_k", [1, 3, 100])
def test_top_k(top_k: int) -> None:
    expected = only([0, 7, 1, 2, 3, 4, 5][:top_k])
    assert_distribution(frequencies(LOGITS, top_k=top_k), expected)


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 0.999])
def test_top_p(top_p: float) -> None:
    assert_distribution(frequencies(LOGITS, top_p=top_p), nucleus(softmax(LOGITS), top_p))


def test_top_k_then_top_p() -> None:
    assert_distribution(frequencies(LOGITS, top_k=4, top_p=0.7), nucleus(only([0, 7, 1, 2]), 0.7))


@pytest.mark.parametrize(("spread", "top_p"), [(8.0, 0.9), (0.01, 0.9), (1.0, 0.5), (30.0, 0.9999)])
def test_nucleus_of_a_large_vocabulary(spread: float, top_p: float) -> None:
    """A few tokens hold it, or thousands, or nearly all."""
    logits = (np.random.default_rng(2).standard_normal(8192) * spread).astype(np.float32)
    inside = nucleus(softmax(logits), top_p) > 0
    generator = np.random.default_rng(3)
    params = SamplingParams(top_p=top_p)
    draws = [sample_row(logits, params, generator) for _ in range(120)]
    outside = [token for token in draws if not inside[token]]
    assert len(outside) <= int(spread < 0.1), "at its edge a flat one is a matter of rounding"
    if inside.sum() > 100:
        assert len(set(draws)) > 40


@pytest.mark.parametrize("params", [{}, {"top_p": 0.97}, {"top_k": 600}, {"temperature": 0.5}])
def test_draws_from_a_large_vocabulary_have_its_distribution(params: dict[str, Any]) -> None:
    """Seven tokens stand out, far apart; all the others together are the eighth."""
    logits = np.full(20_000, -9.0, np.float32)
    peaks = [0, 511, 512, 513, 9_999, 19_455, 19_999]
    logits[peaks] = [2.0, 1.5, 1.0, 0.5, 0.0, 1.2, 1.8]
    chosen, generator = SamplingParams(**params), np.random.default_rng(4)
    draws = np.array([sample_row(logits, chosen, generator) for _ in range(DRAWS)])
    observed = np.array([*((draws == peak).mean() for peak in peaks), (~np.isin(draws, peaks)).mean()])
    assert_distribution(observed, expected_of(logits, peaks, chosen))


def expected_of(logits: Floats, peaks: list[int], params: SamplingParams) -> Floats:
    """Exact probabilities of the peaks and of all others, by sorting everything."""
    logits = logits / np.float32(params.temperature)
    if params.top_k:
        logits[np.argsort(-logits, kind="stable")[params.top_k :]] = -np.inf
    whole = softmax(logits)
    whole = nucleus(whole, params.top_p) if params.top_p < 1 else whole
    return np.array([*whole[peaks], 1 - whole[peaks].sum()])


@pytest.mark.parametrize("count", [1, 5, 39, 40, 300, 5_000, 20_000, 30_000])
def test_best_ids_are_those_of_a_stable_sort(count: int) -> None:
    values = np.random.default_rng(1).standard_normal(20_000).astype(np.float32)
    values[[7, 9_000]] = values.max()  # equals
    assert best_ids(values, count).tolist() == np.argsort(-values, kind="stable")[:count].tolist()


def test_best_ids_leave_out_what_is_forbidden() -> None:
    values = np.full(5_000, -np.inf, np.float32)
    values[[3, 4_000]] = [1.0, 2.0]
    assert best_ids(values, 4).tolist() == [4_000, 3]


def test_greedy_takes_the_first_of_equals() -> None:
    assert sample_row(np.array([0, 3, 3, 1], np.float32), SamplingParams(temperature=0), None) == 1


@pytest.mark.parametrize("temperature", [1e-5, 1e-30, 1e-300])
def test_tiny_temperatures_are_greedy(temperature: float) -> None:
    generator = np.random.default_rng(0)
    params = SamplingParams(temperature=temperature)
    assert {sample_row(LOGITS * 100, params, generator) for _ in range(20)} == {0}


def test_logprobs_are_of_the_model_and_not_of_the_sampling() -> None:
    forbid_best = Forbid({0})
    seq = sequence(forbid_best, temperature=0.3, top_k=2, seed=0, logprobs=3)
    sampled = Sampler().sample(seq, LOGITS.copy())
    wanted = log_probabilities(LOGITS)
    assert sampled.logprob is not None
    assert sampled.logprob.logprob == pytest.approx(float(wanted[sampled.token_id]))
    assert [token for token, _ in sampled.logprob.top] == [0, 7, 1]
    assert [value for _, value in sampled.logprob.top] == pytest.approx(wanted[[0, 7, 1]].tolist())


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (20, 8)])
def test_number_of_alternatives(asked: int, given: int) -> None:
    sampled = Sampler().sample(sequence(temperature=0, logprobs=asked), LOGITS.copy())
    assert sampled.logprob is not None
    assert len(sampled.logprob.top) == given


def test_no_logprobs_unless_asked() -> None:
    assert Sampler().sample(sequence(temperature=0), LOGITS.copy()).logprob is None


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
    tokens = [Sampler().sample(seq, LOGITS.copy()).token_id for _ in range(20)]
    assert set(tokens) <= {4, 5}
    assert forbid.taken == tokens


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_constraint_without_a_way_out_is_the_requests_error(temperature: float) -> None:
    seq = sequence(Forbid(set(range(8))), temperature=temperature)
    with pytest.raises(RequestError, match="forbids every token"):
        Sampler().sample(seq, LOGITS.copy())


def stream(sampler: Sampler, seq: Sequence, length: int = 12) -> list[int]:
    return [sampler.sample(seq, LOGITS.copy()).token_id for _ in range(length)]


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
