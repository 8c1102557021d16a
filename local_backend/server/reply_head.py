"""What every chunk of a reply repeats, and how long the reply may be."""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from local_backend.server.replies import HttpError, invalid_request

__all__ = ["ReplyHead", "context_overflow", "new_head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyHead:
    """What every chunk of a reply repeats.

    Attributes:
        id: Unique per reply.
        model: The true local id.
        created: Unix seconds.
        fingerprint: Names model and package version; the same as long as both are.
        num_prompt_tokens: Length of the prompt, reported when the engine gave up before saying it.
    """

    id: str
    model: str
    created: int
    fingerprint: str
    num_prompt_tokens: int


def new_head(model: str, num_prompt_tokens: int) -> ReplyHead:
    """Make the head of a new reply."""
    return ReplyHead(
        id=str(uuid.uuid4()),
        model=model,
        created=int(time.time()),
        fingerprint=_fingerprint(model),
        num_prompt_tokens=num_prompt_tokens,
    )


def context_overflow(max_model_len: int, num_prompt_tokens: int, max_tokens: int) -> HttpError:
    """Build the 400 that clients recognise as an overflow, word for word."""
    return invalid_request(
        f"This model's maximum context length is {max_model_len} tokens. However, you requested "
        f"{num_prompt_tokens + max_tokens} tokens ({num_prompt_tokens} in the messages, {max_tokens} in the "
        "completion). Please reduce the length of the messages or completion."
    )


def _fingerprint(model: str) -> str:
    try:
        release = version("deepseek-apps")
    except PackageNotFoundError:  # run from a source tree
        release = "source"
    return f"fp_{hashlib.sha256(f'{model} {release}'.encode()).hexdigest()[:10]}_local"
