"""How torch's OpenMP threads wait; must be settled before torch is imported."""

from __future__ import annotations

import os
import sys

__all__ = ["settle_thread_waiting"]


def settle_thread_waiting() -> None:
    """Let idle OpenMP threads sleep after about 0.4 ms, unless torch is loaded or the user has chosen.

    GNU OpenMP spins for 14 ms by default. As soon as anything else runs on the machine, the spinning threads
    take the cores from those that would work: with both cores of two busy, 0.9 tokens/s instead of 3. 0.4 ms
    bridges the gaps within a decode step, so an idle machine loses nothing (11.7 tokens/s either way).
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "8000")
