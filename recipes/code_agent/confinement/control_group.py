"""Limits on memory and processes of a whole tree: control groups of either version, where they can be made.

Most users may not make them; then `ControlGroup.create` returns None, and limits per process have to do.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ControlGroup"]

_ROOT = Path("/sys/fs/cgroup")
_REMOVE_SECONDS = 2.0
_PREFIX = "deepseek-apps-"


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A group of processes with limits of its own.

    Attributes:
        folders: One for version 2; one per controller for version 1.
    """

    folders: tuple[Path, ...]

    @classmethod
    def create(cls, *, memory_bytes: int, processes: int, root: Path = _ROOT) -> ControlGroup | None:
        """Make a group; None where that is not allowed, or a controller is missing.

        Args:
            memory_bytes: Of all its processes together, without swap.
            processes: At once, threads included.
            root: Where control groups are mounted.
        """
        name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        if (root / "cgroup.controllers").exists():
            wanted = {root / name: {"memory.max": memory_bytes, "memory.swap.max": 0, "pids.max": processes}}
        else:
            wanted = {
                root / "memory" / name: {
                    "memory.limit_in_bytes": memory_bytes,
                    "memory.memsw.limit_in_bytes": memory_bytes,
                },
                root / "pids" / name: {"pids.max": processes},
            }
        group = cls(tuple(wanted))
        _sweep({folder.parent for folder in wanted})
        try:
            for folder, values in wanted.items():
                folder.mkdir()
                for file, value in values.items():
                    # Swap is not counted everywhere.
                    if "sw" not in file or (folder / file).exists():
                        (folder / file).write_text(str(value))
        except OSError:
            group.remove()
            return None
        return group

    def add(self, pid: int) -> None:
        """Put a process in; its children follow it.

        Raises:
            OSError: The system refuses.
        """
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def out_of_memory(self) -> bool:
        """Whether a process was killed because memory ran out."""
        for file in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                lines = (self.folders[0] / file).read_text().splitlines()
                return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)
        return False

    def remove(self) -> None:
        """Remove the group, whose processes must have ended or be about to."""
        for folder in self.folders:
            deadline = time.monotonic() + _REMOVE_SECONDS
            while folder.exists() and time.monotonic() < deadline:
                with suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.01)


def _sweep(parents: Iterable[Path]) -> None:
    """Remove groups that were left by processes that were killed."""
    for parent in parents:
        for folder in parent.glob(f"{_PREFIX}*"):
            maker = folder.name.removeprefix(_PREFIX).partition("-")[0]
            if not Path("/proc", maker).exists():
                with suppress(OSError):  # it is somebody else's, or not empty
                    folder.rmdir()
