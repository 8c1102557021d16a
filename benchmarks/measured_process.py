"""What a measured process does, whichever engine it holds: the protocol, the prompt, and its peak memory.

Uses the standard library only, because a peer's interpreter imports it too. Weights that are mapped from a
file count as resident but can be dropped under pressure; anonymous memory cannot. The system keeps the peak
of their sum but not of the parts, so those are sampled.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

INTERVAL = 0.02
Run = Callable[[int, int, int], dict[str, object]]


def serve(load: Callable[[], tuple[Run, dict[str, object]]]) -> None:
    """Load an engine, make one token, then measure once per line of stdin.

    Args:
        load: Returns a function of (prompt tokens, decoded tokens, depth), and what to say about the model.
            The depth is how many positions the cache holds before the prompt; they are made up, not computed,
            because computing them would take hours on some engines.

    Prints "seconds" of loading and that token (the imports before it are left out) and the "base" memory
    from before it; then for each [prompt, decoded, depth] what the function returned, peak memory, and how
    many page faults waited for the disk since the last line: a fair measurement has none.
    """
    base = memory_status().get("VmHWM", 0)
    with MemoryWatch() as watch:
        start = time.perf_counter()
        run, about = load()
        run(8, 1, 0)
        seconds = time.perf_counter() - start
        _say({"seconds": seconds, "base": base, **about, **watch.peaks(), "disk_faults": disk_faults()})
        for line in sys.stdin:
            before = disk_faults()
            prompt, decoded, depth = json.loads(line)
            _say({**run(prompt, decoded, depth), **watch.peaks(), "disk_faults": disk_faults() - before})


def token_id(position: int, vocab_size: int) -> int:
    """Return the id at a position of the prompt: spread over the vocabulary, the same for everyone."""
    return (1000 + position * 7919) % vocab_size


class MemoryWatch:
    """Samples this process while it is entered.

    Attributes:
        anonymous: Peak bytes that are not pages of files; 0 where the system does not say.
    """

    def __init__(self) -> None:
        self.anonymous = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def peaks(self) -> dict[str, object]:
        """Return peak bytes: resident in all, and anonymous."""
        return {"resident": memory_status().get("VmHWM", 0), "anonymous": self.anonymous}

    def _sample(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.anonymous = max(self.anonymous, memory_status().get("RssAnon", 0))


def memory_status() -> dict[str, int]:
    """Return the sizes in /proc/self/status in bytes; empty where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    rows = (line.split() for line in lines if line.endswith(" kB"))
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def disk_faults() -> int:
    """Return how many page faults of this process waited for a disk."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)
