"""Choose the next token of each sequence from its logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.errors import RequestError
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence, TokenLogprob

__all__ = ["SampledToken", "Sampler", "sample_row"]

NUCLEUS_CANDIDATES = 1024  # enough for nearly every nucleus; a wider one sorts the whole vocabulary
MIN_TEMPERATURE = 1e-5  # below it only ties are left to chance, and float32 would overflow


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A chosen token and, when asked for, its log probability."""

    token_id: int
    logprob: TokenLogprob | None


class Sampler:
    """Samples with one random generator per sequence, so results do not depend on batch neighbours."""

    def __init__(self) -> None:
        self._generators: dict[int, torch.Generator] = {}

    @torch.inference_mode()  # logits come out of inference mode and may be written only inside it
    def sample(self, seq: Sequence, logits: Tensor) -> SampledToken:
        """Choose from float32 logits (vocab_size,), which are overwritten.

        Raises:
            RequestError: The constraint leaves no token to choose.
        """
        params = seq.params
        raw = torch.log_softmax(logits, dim=-1) if params.logprobs is not None else None
        if seq.constraint is not None:
            seq.constraint.mask_logits(logits)
            _check_any_allowed(logits)
        token_id = sample_row(logits, params, self._generator(seq))
        if seq.constraint is not None:
            seq.constraint.advance(token_id)
        return SampledToken(token_id, None if raw is None else _logprob(raw, token_id, params.logprobs or 0))

    def forget(self, seq: Sequence) -> None:
        """Drop a finished sequence's generator."""
        self._generators.pop(seq.seq_id, None)

    def _generator(self, seq: Sequence) -> torch.Generator | None:
        if seq.params.greedy:
            return None
        if seq.seq_id not in self._generators:
            generator = torch.Generator()
            if seq.params.seed is None:
                generator.seed()
            else:
                generator.manual_seed(seq.params.seed % 2**64)
            self._generators[seq.seq_id] = generator
        return self._generators[seq.seq_id]


def sample_row(logits: Tensor, params: SamplingParams, generator: torch.Generator | None) -> int:
    """Temperature, then top-k, then top-p, then one draw; greedy takes the first of equals.

    Args:
        logits: (vocab_size,) float32; -inf forbids a token.
        generator: Source of randomness; unused when greedy.
    """
    if params.greedy:
        return int(logits.argmax())
    logits = (logits - logits.max()) / max(params.temperature, MIN_TEMPERATURE)
    if params.top_k == 0 and params.top_p == 1:
        return _draw(torch.softmax(logits, dim=-1), generator)
    values, ids = _candidates(logits, params)
    probabilities = torch.softmax(values, dim=-1)
    if params.top_p < 1:
        # Keep a token when the mass before it has not reached top_p: the first is always kept.
        before = probabilities.cumsum(-1) - probabilities
        probabilities = torch.where(before < params.top_p, probabilities, 0.0)
    return int(ids[_draw(probabilities, generator)])


def _candidates(logits: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """Most likely tokens, best first: exactly top_k of them, or enough to hold top_p of the mass."""
    size = logits.numel()
    if params.top_k:
        top = logits.topk(min(params.top_k, size))
        return top.values, top.indices
    top = logits.topk(min(NUCLEUS_CANDIDATES, size))
    mass = (top.values.logsumexp(-1) - logits.logsumexp(-1)).exp()
    if float(mass) < params.top_p:
        top = logits.topk(size)
        return top.values, top.indices
    # The nucleus is cut on shares of the whole, so the rest of the mass must stay in the sum.
    rest = (1 - mass).clamp_min(0).log() + logits.logsumexp(-1)
    values = torch.cat((top.values, rest[None]))
    return values, torch.cat((top.indices, top.indices[-1:]))


def _draw(weights: Tensor, generator: torch.Generator | None) -> int:
    cumulative = weights.double().cumsum(-1)
    point = torch.rand((), dtype=torch.float64, generator=generator) * cumulative[-1]
    return min(int(torch.searchsorted(cumulative, point, right=True)), weights.numel() - 1)


def _check_any_allowed(logits: Tensor) -> None:
    if float(logits.max()) == float("-inf"):
        raise RequestError(
            "the output constraint forbids every token",
            help_message="Simplify the JSON schema, regular expression or tool parameters.",
        )


def _logprob(log_probabilities: Tensor, token_id: int, count: int) -> TokenLogprob:
    top = log_probabilities.topk(min(count, log_probabilities.numel())) if count else None
    pairs = () if top is None else tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    return TokenLogprob(float(log_probabilities[token_id]), pairs)
