"""What a sandboxed command may use."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SandboxLimits", "limit_command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """Limits of one command, its children included where the system can count them together.

    Attributes:
        wall_seconds: Until everything is killed.
        cpu_seconds: Processor time of each process.
        memory_bytes: Memory of all processes where control groups can be used, else address space of each.
        processes: At once, threads included.
        file_bytes: Size of one file.
        disk_bytes: Size of the workspace; looked at some times a second, so that it may be passed briefly.
        output_bytes: Of standard output and error together that are kept: the first and the last half.
        flood_bytes: Of the same, after which the command is killed.
    """

    wall_seconds: float = 30.0
    cpu_seconds: int = 60
    memory_bytes: int = 2 << 30
    processes: int = 128
    file_bytes: int = 256 << 20
    disk_bytes: int = 512 << 20
    output_bytes: int = 256 << 10
    flood_bytes: int = 64 << 20


def limit_command(limits: SandboxLimits, *, per_process: bool) -> list[str]:
    """Return what a command is put behind, so that it and its children run within limits of a process.

    It reads a line first, so that there is time to put it into a control group, and ends without one.

    A shell sets them on itself and becomes the command: setting them on a process of another user takes a
    capability that even root may lack.

    Args:
        limits: The limits.
        per_process: Whether memory and processes have to be limited so too, there being no control group.
    """
    rows = ["read -r go", "ulimit -c 0", f"ulimit -t {limits.cpu_seconds}", "ulimit -n 1024"]
    rows.append(f"ulimit -f {limits.file_bytes // 512}")
    if per_process:
        rows.append(f"ulimit -v {limits.memory_bytes // 1024}")
        rows.append(
            f"{{ ulimit -u {limits.processes} 2>/dev/null || ulimit -p {limits.processes}; }}"
        )  # dash
    return ["/bin/sh", "-c", f'{" && ".join(rows)} && exec "$@"', "sh"]
