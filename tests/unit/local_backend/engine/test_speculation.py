"""Speculation in the engine: the same output in fewer passes, and nothing left behind by wrong guesses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy_model import drain, generate, toy_engine

from local_backend.engine.engine import Engine
from local_backend.engine.speculator import MAX_SEQUENCES
from local_backend.errors import RequestError
from local_backend.models.decoder import Decoder
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence, SequenceOutput

PROMPT = [7, 8, 9, 10, 11, 12, 7, 8, 9, 10]


class Oracle:
    """Guesses from given lists, right or wrong; stands in for the engine's own speculator.

    What it is told is what the speculator is told.
    """

    def __init__(self, engine: Engine, guesses: dict[int, list[int]], length: int = 4) -> None:
        self.guesses, self.length = guesses, length
        self.drafted = 0
        speculator = engine._speculator
        self.statistics = speculator.statistics
        self.record, self.learn, self.forget = speculator.record, speculator.learn, speculator.forget
        self.follow = speculator.follow

    def draft(self, running: list[Sequence]) -> None:
        for seq in running:
            done = seq.num_generated_tokens
            guess = self.guesses[seq.seq_id][done : done + self.length]
            seq.draft_token_ids = guess if seq.num_uncomputed_tokens == 1 else []
            self.drafted += len(seq.draft_token_ids)


def run(
    toy: Decoder, guess: list[int], constraint: Any = None, length: int = 4, **params: Any
) -> tuple[list[SequenceOutput | Exception], int]:
    """Outputs of one request whose continuation is guessed to be `guess`, and the passes it took."""
    engine = toy_engine(toy)
    seq = engine.new_sequence(PROMPT, SamplingParams(**params), constraint=constraint)
    oracle = Oracle(engine, {seq.seq_id: guess}, length)
    engine._speculator = oracle  # type: ignore[assignment]
    passes, run_pass = [], engine._runner.run

    def counted(*args: Any) -> torch.Tensor:
        passes.append(args)
        return run_pass(*args)

    engine._runner.run = counted  # type: ignore[method-assign]
    outputs = drain(engine, seq)[seq.seq_id]
    return outputs, len(passes)


def tokens(outputs: list[SequenceOutput | Exception]) -> list[int | None]:
    return [output.token_id for output in outputs if isinstance(output, SequenceOutput)]


def plain(toy: Decoder, **params: Any) -> list[int]:
    return generate(toy_engine(toy, speculation="off"), PROMPT, **params)


SAMPLED = {"temperature": 0.8, "top_p": 0.95, "seed": 3}


@pytest.mark.parametrize("params", [{"temperature": 0}, SAMPLED, {"temperature": 1.0, "seed": 4}])
def test_right_guesses_save_passes_and_change_nothing(toy: Decoder, params: dict[str, Any]) -> None:
    expected = plain(toy, max_tokens=13, **params)
    outputs, passes = run(toy, expected, max_tokens=13, **params)
    assert tokens(outputs) == expected
    assert passes == 4  # the prompt, then five, five and two
    assert [o.finish_reason for o in outputs] == [None] * 12 + ["length"]


@pytest.mark.parametrize("wrong_at", [0, 1, 3, 7])
@pytest.mark.parametrize("params", [{"temperature": 0}, SAMPLED])
def test_wrong_guesses_cost_passes_and_change_nothing(
    toy: Decoder, params: dict[str, Any], wrong_at: int
) -> None:
    expected = plain(toy, max_tokens=13, **params)
    guess = [(token + 1) % 320 if i % 8 == wrong_at else token for i, token in enumerate(expected)]
    assert tokens(run(toy, guess, max_tokens=13, **params)[0]) == expected


@pytest.mark.parametrize("stop_at", [2, 3, 5, 6])
def test_a_stop_token_ends_the_output_inside_a_guess(toy: Decoder, stop_at: int) -> None:
    expected = plain(toy, max_tokens=9, **SAMPLED)
    first = expected.index(expected[stop_at])
    stop = frozenset({expected[stop_at]})
    outputs, _ = run(toy, expected, max_tokens=9, stop_token_ids=stop, **SAMPLED)
    assert tokens(outputs) == [*expected[:first], None]
    assert outputs[-1].finish_reason == "stop"


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 5, 6, 7])
def test_max_tokens_holds_inside_a_guess(toy: Decoder, max_tokens: int) -> None:
    expected = plain(toy, max_tokens=12)
    outputs, _ = run(toy, expected, max_tokens=max_tokens, temperature=0)
    assert tokens(outputs) == expected[:max_tokens]
    assert outputs[-1].finish_reason == "length"


def test_log_probabilities_are_those_of_plain_decoding(toy: Decoder) -> None:
    params = {"temperature": 0, "max_tokens": 9, "logprobs": 3}
    expected, _ = run(toy, [], **params)
    outputs, passes = run(toy, tokens(expected), **params)
    assert passes < 9
    for output, wanted in zip(outputs, expected, strict=True):
        assert output.logprob.logprob == pytest.approx(wanted.logprob.logprob, abs=1e-5)
        assert [token for token, _ in output.logprob.top] == [token for token, _ in wanted.logprob.top]


class Countdown:
    """Allows only tokens above the last one; finished after `length` tokens, or stuck."""

    def __init__(self, length: int, *, stuck: bool = False) -> None:
        self.length, self.stuck = length, stuck
        self.taken: list[int] = []

    @property
    def finished(self) -> bool:
        return not self.stuck and len(self.taken) == self.length

    def mask_logits(self, logits: torch.Tensor) -> None:
        if len(self.taken) == self.length:
            logits.fill_(float("-inf"))
        elif self.taken:
            logits[: min(self.taken[-1], 310) + 1] = float("-inf")

    def advance(self, token_id: int) -> None:
        self.taken.append(token_id)


def test_a_constraint_is_advanced_for_true_guesses_only(toy: Decoder) -> None:
    expected = tokens(run(toy, [], Countdown(7), temperature=0)[0])
    assert len(expected) == 7
    for guess in (expected, [*expected[:2], 5, *expected[3:]]):
        constraint = Countdown(7)
        outputs, passes = run(toy, guess, constraint, temperature=0)
        assert tokens(outputs) == constraint.taken == expected
        assert outputs[-1].finish_reason == "stop"
        assert passes < 7


def test_a_dead_end_inside_a_guess_is_the_requests_error(toy: Decoder) -> None:
    expected = tokens(run(toy, [], Countdown(4, stuck=True), temperature=0)[0])
    outputs, _ = run(toy, [*expected, 1, 1], Countdown(4, stuck=True), length=6, temperature=0)
    assert tokens(outputs) == expected
    assert isinstance(outputs[-1], RequestError)


def test_only_true_tokens_reach_the_prefix_cache(toy: Decoder) -> None:
    engine = toy_engine(toy)
    seq = engine.new_sequence(PROMPT, SamplingParams(temperature=0, max_tokens=12))
    engine._speculator = Oracle(engine, {seq.seq_id: [5] * 12}, 8)  # type: ignore[assignment]
    drain(engine, seq)
    again = engine.new_sequence([*PROMPT, *[5] * 12], SamplingParams(temperature=0, max_tokens=1))
    engine._speculator = toy_engine(toy)._speculator
    assert drain(engine, again)[again.seq_id][-1].num_cached_tokens == 8
    follow = engine.new_sequence([*seq.token_ids, 1], SamplingParams(temperature=0, max_tokens=1))
    assert drain(engine, follow)[follow.seq_id][-1].num_cached_tokens == 20


def test_a_repetitive_answer_is_guessed_by_itself(toy: Decoder) -> None:
    """The toy falls into a loop, and guessing is tried at once."""
    engine, off = toy_engine(toy, num_blocks=120), toy_engine(toy, num_blocks=120, speculation="off")
    engine._speculator._costs.record(16, 1e-9)  # as if rows cost nothing
    prompt = [3, 4] * 8
    assert generate(engine, prompt, max_tokens=150) == generate(off, prompt, max_tokens=150)
    statistics = engine.speculation_statistics()
    assert 0 < statistics.num_accepted_tokens <= statistics.num_drafted_tokens
    assert off.speculation_statistics().num_drafted_tokens == 0
    assert not engine._speculator._states


def test_many_sequences_are_not_guessed(toy: Decoder) -> None:
    engine = toy_engine(toy, num_blocks=200)
    engine._speculator._costs.record(16, 1e-9)
    params = SamplingParams(temperature=0, max_tokens=6)
    drain(engine, *(engine.new_sequence([3, 4, i] * 5, params) for i in range(MAX_SEQUENCES + 1)))
    assert engine.speculation_statistics().num_drafted_tokens == 0
