"""What the sandbox does with processes and pipes by their numbers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from contextlib import suppress

__all__ = ["START_SECONDS", "Feed", "child_pid", "close", "end", "first_byte", "kill", "wait_for_all"]

START_SECONDS = END_SECONDS = 10.0
_PIECE = 1 << 16
_INFO_SECONDS = 0.001  # between looks at what bubblewrap says


class Feed:
    """What a process is still to get as its standard input; given in pieces, so that nobody waits for it.

    Args:
        process: Started with a pipe as standard input.
        data: All that it gets.
    """

    def __init__(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        assert process.stdin is not None
        self._stdin = process.stdin
        self._left = memoryview(data)
        os.set_blocking(self._stdin.fileno(), False)

    def push(self) -> None:
        """Give as much as is taken now, and close the pipe after the last of it."""
        while not self._stdin.closed:
            try:
                self._left = self._left[os.write(self._stdin.fileno(), self._left[:_PIECE]) :]
            except BlockingIOError:
                return
            except BrokenPipeError:  # it does not want any more
                self._left = self._left[:0]
            if not self._left:
                self._stdin.close()


def child_pid(info: int, process: subprocess.Popen[bytes]) -> int | None:
    """Wait for what bubblewrap says about the sandbox; None when it ended before there was one.

    Args:
        info: A file that it is written to, and not a pipe: bubblewrap would die of a reader that has died,
            and leave the sandbox's first process behind, waiting for ever.
        process: The program that says it.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        with suppress(ValueError):
            return int(json.loads(os.pread(info, 4096, 0))["child-pid"])
        if ended:
            break
        time.sleep(_INFO_SECONDS)
    return None


def first_byte(process: subprocess.Popen[bytes]) -> bytes:
    """Return the first byte that a process writes; empty if it writes none in time."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], START_SECONDS)[0]:
        return b""
    return os.read(process.stdout.fileno(), 1)


def end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a process is gone, and close what we read of it."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


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
