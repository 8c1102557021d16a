"""What a caller may ask of the sampler; validated once, immutable afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from local_backend.errors import UnsupportedParameterError

__all__ = ["SamplingDefaults", "SamplingParams"]

MAX_TOP_LOGPROBS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingDefaults:
    """What a model's publisher recommends where a request says nothing.

    Attributes:
        temperature, top_p, top_k: As in SamplingParams.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose the next token and when to stop.

    Attributes:
        temperature: 0 is greedy; otherwise logits are divided by it. Range [0, 2].
        top_p: Nucleus mass, range (0, 1].
        top_k: Keep the k most likely tokens; 0 keeps all.
        max_tokens: Upper bound on new tokens, at least 1.
        stop_token_ids: Ids that end the sequence; they are not part of the output.
        seed: Makes sampling repeatable whatever else is in the batch; None draws from entropy.
        logprobs: Number of alternatives reported per token (0 to 20); None reports nothing.

    Raises:
        UnsupportedParameterError: A value is out of range; the message names it.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 8192
    stop_token_ids: frozenset[int] = frozenset()
    seed: int | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        checks = (
            ("temperature", isfinite(self.temperature) and 0 <= self.temperature <= 2, "[0, 2]"),
            ("top_p", isfinite(self.top_p) and 0 < self.top_p <= 1, "(0, 1]"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("max_tokens", self.max_tokens >= 1, "1 or more"),
            ("logprobs", self.logprobs is None or 0 <= self.logprobs <= MAX_TOP_LOGPROBS, "[0, 20]"),
        )
        for name, valid, wanted in checks:
            if not valid:
                raise UnsupportedParameterError(
                    f"{name}={getattr(self, name)!r} is out of range",
                    help_message=f"Pass {name} in {wanted}.",
                )

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0
