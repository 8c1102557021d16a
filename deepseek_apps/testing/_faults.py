"""What goes wrong while an answer travels: delays, signs of life, cuts. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["CutKind", "Faults"]

CutKind: TypeAlias = Literal["connection", "half_chunk", "no_done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How one answer is mistreated.

    Attributes:
        delay: Seconds before its first byte.
        per_chunk: Seconds after each chunk.
        keep_alives: Number of signs of life between the headers and the first chunk.
        keep_alive_every: Seconds before each of them.
        cut: How the answer breaks off, None for not at all.
        cut_after: Number of chunks before the cut; None is all but the last.
        hang_after: Number of chunks after which nothing comes, None for not at all.
        disconnect: Close the connection instead of answering.
        empty_body: Send the headers and no body.
        content_type: Send this one instead of the right one.
        headers: Send these, too.
    """

    delay: float = 0.0
    per_chunk: float = 0.0
    keep_alives: int = 0
    keep_alive_every: float = 0.0
    cut: CutKind | None = None
    cut_after: int | None = None
    hang_after: int | None = None
    disconnect: bool = False
    empty_body: bool = False
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
