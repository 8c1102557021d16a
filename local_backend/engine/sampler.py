"""Choose the next token of each sequence from its logits, with a random stream per sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from local_backend.engine.sampling import Floats, best_ids, log_probabilities, sample_row
from local_backend.errors import RequestError
from local_backend.sequence import Sequence, TokenConstraint, TokenLogprob

__all__ = ["SampledToken", "Sampler"]


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A chosen token and, when asked for, its log probability."""

    token_id: int
    logprob: TokenLogprob | None


class Sampler:
    """Samples with one random generator per sequence, so results do not depend on batch neighbours.

    A token takes one draw, whatever the step or the row it comes from: a seed gives the same output with
    speculation and without.
    """

    def __init__(self) -> None:
        self._generators: dict[int, np.random.Generator] = {}

    def sample(self, seq: Sequence, logits: Floats) -> SampledToken:
        """Choose from float32 logits (vocab_size,), which are overwritten.

        Raises:
            RequestError: The constraint leaves no token to choose.
        """
        params, constraint = seq.params, seq.constraint
        raw = None if params.logprobs is None else log_probabilities(logits)
        if constraint is not None:
            _narrow(logits, constraint)
        token_id = sample_row(logits, params, self._generator(seq))
        if constraint is not None:
            constraint.advance(token_id)
        return SampledToken(token_id, None if raw is None else _logprob(raw, token_id, params.logprobs or 0))

    def forget(self, seq: Sequence) -> None:
        """Drop a finished sequence's generator."""
        self._generators.pop(seq.seq_id, None)

    def _generator(self, seq: Sequence) -> np.random.Generator | None:
        if seq.params.greedy:
            return None
        generator = self._generators.get(seq.seq_id)
        if generator is None:
            seed = seq.params.seed
            generator = np.random.Generator(np.random.PCG64(None if seed is None else seed % 2**64))
            self._generators[seq.seq_id] = generator
        return generator


def _narrow(logits: Floats, constraint: TokenConstraint) -> None:
    constraint.mask_logits(torch.from_numpy(logits))
    if logits.max() == -np.inf:
        raise RequestError(
            "the output constraint forbids every token",
            help_message="Simplify the JSON schema, regular expression or tool parameters.",
        )


def _logprob(log_probabilities: Floats, token_id: int, count: int) -> TokenLogprob:
    ids = best_ids(log_probabilities, count) if count else np.empty(0, np.int64)
    pairs = tuple(zip(ids.tolist(), log_probabilities[ids].tolist(), strict=True))
    return TokenLogprob(float(log_probabilities[token_id]), pairs)
