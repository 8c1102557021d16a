"""What the sandbox does with processes and pipes by their numbers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from contextlib import suppress

__all__ = ["START_SECONDS", "child_pid", "close", "end", "kill", "wait_for_all"]

START_SECONDS = END_SECONDS = 10.0


def child_pid(info: int) -> int | None:
    """Read what bubblewrap says about the sandbox; None when it ended before there was one."""
    data, deadline = b"", time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and select.select([info], [], [], START_SECONDS)[0]:
        part = os.read(info, 4096)
        data += part
        with suppress(ValueError):
            return int(json.loads(data)["child-pid"])
        if not part:
            break
    return None


def end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a process is gone, and close what we read of it."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def kill(handle: int) -> None:
    """Kill the process of a pidfd, if it has not ended."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)


def wait_for_all(handle: int) -> None:
    """Wait until the first process of a namespace has ended, which it does after all others have."""
    select.select([handle], [], [], END_SECONDS)


def close(handle: int) -> None:
    """Close one end of a pipe, if it is open."""
    with suppress(OSError):
        os.close(handle)
