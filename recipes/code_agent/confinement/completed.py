"""How a sandboxed command ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Completed", "Stop"]

Stop = Literal["time", "output", "disk", "memory"]


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended.

    Attributes:
        exit_code: As a shell would say it: 128 and the signal's number where one ended it.
        output: Standard output and error together, in order; a line stands for what was left out.
        stopped: The limit that ended it; None if it ended by itself.
        seconds: Wall time, the sandbox's start included.
    """

    exit_code: int
    output: str
    stopped: Stop | None
    seconds: float
