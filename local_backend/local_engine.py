"""The facade that owns one loaded model: tokenizer, prompt family and engine worker.

This file is the only place that holds both ends of the text. It knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from local_backend.sampling_params import SamplingParams
from local_backend.sequence import SequenceOutput, TokenConstraint

if TYPE_CHECKING:
    from local_backend.config import EngineConfig
    from local_backend.families.registry import Family
    from local_backend.families.tokenizer import Tokenizer

__all__ = ["Generation", "TextEngine"]


class Generation(Protocol):
    """One running request, read token by token; safe to cancel from any thread."""

    def __iter__(self) -> Iterator[SequenceOutput]:
        """Yield outputs until one has a finish_reason; raises LocalBackendError if the engine fails."""

    def cancel(self) -> None:
        """Stop generating and free the blocks at once; idempotent. A blocked reader wakes up."""


class TextEngine(Protocol):
    """What the request handler needs of a model; LocalEngine is the real one."""

    @property
    def model_id(self) -> str:
        """Name reported on the wire."""

    @property
    def max_model_len(self) -> int:
        """Context in tokens, prompt and completion together."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""

    @property
    def family(self) -> Family:
        """Prompt format of this model."""

    def submit(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        cache_salt: str = "",
        constraint: TokenConstraint | None = None,
    ) -> Generation:
        """Queue a request; returns at once.

        Raises:
            RequestTooLongError: The prompt does not fit the context.
            EngineStoppedError: The engine is closed.
        """

    def close(self) -> None:
        """Stop the engine thread and release memory; idempotent."""
