"""The state of one request inside the engine, and what the engine says about it per token."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal, Protocol

from local_backend.sampling_params import SamplingParams

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FinishReason", "Sequence", "SequenceOutput", "SequenceStatus", "TokenConstraint", "TokenLogprob"]

FinishReason = Literal["stop", "length", "cancelled"]


class TokenConstraint(Protocol):
    """Narrows the next token; one object per request, advanced by the sampler (see engine/constraint.py)."""

    def mask_logits(self, logits: Tensor) -> None:
        """Set the logits (vocab_size,) of forbidden tokens to -inf, in place."""

    def advance(self, token_id: int) -> None:
        """Tell the constraint which token was chosen."""

    @property
    def finished(self) -> bool:
        """Whether the output is complete: only an end token may follow, and the engine stops."""


class SequenceStatus(Enum):
    """Where a sequence is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log probabilities of one step, taken before temperature and truncation.

    Attributes:
        logprob: Of the chosen token.
        top: Most likely (token id, logprob) pairs, best first.
    """

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class SequenceOutput:
    """One new token of one request, or its end.

    Attributes:
        token_id: The new token; None when the step only ended the sequence (stop token, cancel).
        finish_reason: Set on the last output of the request.
        num_prompt_tokens: Length of the prompt.
        num_cached_tokens: Prompt tokens found in the prefix cache, a multiple of the block size.
        logprob: Present when SamplingParams.logprobs was given and token_id is not None.
    """

    token_id: int | None
    finish_reason: FinishReason | None
    num_prompt_tokens: int
    num_cached_tokens: int
    logprob: TokenLogprob | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """One request: its tokens, its blocks, and how much of it is computed.

    Attributes:
        seq_id: Unique within the engine.
        token_ids: Prompt followed by generated tokens.
        num_prompt_tokens: How many of them the caller gave.
        cache_salt: Keeps the prefix caches of different users apart.
        block_table: Block ids in order; block i holds positions [i * block_size, (i + 1) * block_size).
        num_computed_tokens: Positions whose keys and values are in the cache.
        num_cached_tokens: Of the prompt, found in the prefix cache at first admission.
        num_wanted_segments: Segments of its prefix that the slower tier has been asked for.
        num_offered_segments: Segments of its prefix that the slower tier has been offered.
        draft_token_ids: Guesses at what follows token_ids, for the next pass to verify.
    """

    seq_id: int
    token_ids: list[int]
    num_prompt_tokens: int
    params: SamplingParams
    cache_salt: str = ""
    constraint: TokenConstraint | None = None
    status: SequenceStatus = SequenceStatus.WAITING
    block_table: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    num_computed_tokens: int = 0
    num_cached_tokens: int | None = None
    num_wanted_segments: int = 0
    num_offered_segments: int = 0
    finish_reason: FinishReason | None = None
    draft_token_ids: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of tokens, computed or not."""
        return len(self.token_ids)

    @property
    def num_generated_tokens(self) -> int:
        """Tokens the engine has added."""
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens still to be run through the model before the next one can be sampled."""
        return len(self.token_ids) - self.num_computed_tokens
