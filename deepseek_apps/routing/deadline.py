"""How long a whole call may take, apart from how long it may be silent.

A time-out between two bytes never ends a call whose backend sends keep-alive comments for ever; a deadline
does. It comes with the request, in a header that does not leave the machine, or from the settings. The
transports that keep it are in _deadline_transport.py.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx2

from deepseek_apps.backends.base import WATCH_EXTENSION
from deepseek_apps.errors import DeadlineExceededError, SettingsError

__all__ = [
    "DEADLINE_HEADER",
    "Deadline",
    "Interruption",
    "deadline_of",
    "fixed_end",
    "start_deadline",
    "time_left",
]

# Seconds from now; or as `fixed_end` writes it, which stays the same if a client repeats the request.
DEADLINE_HEADER = "x-deepseek-apps-deadline"
EXTENSION = "deepseek_apps_deadline"


class Deadline:
    """When a call has to be over.

    Args:
        seconds: How long the call may take in all.
        left: How much of that is left; None is everything, nothing or less has passed already.
    """

    def __init__(self, seconds: float, left: float | None = None) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + (seconds if left is None else left)

    def remaining(self) -> float:
        """Return the seconds left, at least 0."""
        return max(self._end - time.monotonic(), 0.0)

    def check(self) -> None:
        """Let a call go on.

        Raises:
            DeadlineExceededError: It has to be over.
        """
        if self.remaining() <= 0:
            raise self.error()

    def error(self) -> DeadlineExceededError:
        """Return what to raise when it has passed."""
        return DeadlineExceededError(
            f"the deadline of {self.seconds:g} s for the whole call has passed",
            help_message="Allow more time with the deadline setting, or ask for less.",
        )


class Interruption:
    """A block in which a thread that waits for a response is woken up when a deadline passes.

    Args:
        deadline: None interrupts nothing.
        response: What is waited for.
    """

    def __init__(self, deadline: Deadline | None, response: httpx2.Response) -> None:
        self.fired = False
        self._deadline = deadline
        self._network = response.extensions.get("network_stream")
        self._stream = response.stream
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if self._deadline is not None:
            self._timer = threading.Timer(self._deadline.remaining(), self._fire)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Interrupt nothing any more; idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def check(self, *, failed: bool = False) -> None:
        """Let what was read pass.

        Args:
            failed: The reading has failed, of which a deadline that is over is the reason.

        Raises:
            DeadlineExceededError: The deadline has interrupted the reading.
        """
        if self._deadline is None:
            return
        if self.fired or (failed and self._deadline.remaining() <= 0):
            raise self._deadline.error()

    def _fire(self) -> None:
        self.fired = True
        sock = None if self._network is None else self._network.get_extra_info("socket")
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):  # closed meanwhile
                # Not the TLS object's own shutdown, which takes that object away under a read.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        elif isinstance(self._stream, httpx2.SyncByteStream):
            self._stream.close()  # of this process: closing it from any thread ends the wait


class _Remaining(dict[str, Any]):
    """The time-outs of a request, each cut to what is left when it is looked up."""

    def __init__(self, timeouts: dict[str, Any], deadline: Deadline) -> None:
        super().__init__(timeouts)
        self._deadline = deadline

    def get(self, key: str, default: Any = None) -> Any:
        given = super().get(key, default)
        # Not 0, which would mean not to wait at all.
        left = max(self._deadline.remaining(), 0.001)
        return left if given is None else min(given, left)


def start_deadline(request: httpx2.Request, default: float | None) -> Deadline | None:
    """Take a request's deadline out of its headers and start it; None if it has none.

    Args:
        request: Its time-outs are cut to the deadline from here on.
        default: Seconds if the request says nothing; None is no limit.

    Raises:
        SettingsError: The header holds no number of seconds.
    """
    given = request.headers.pop(DEADLINE_HEADER, None)
    if given is None and default is None:
        return None
    deadline = Deadline(default) if given is None and default is not None else _read(str(given))
    timeouts = dict(request.extensions.get("timeout", {}))
    request.extensions = {
        **request.extensions,
        "timeout": _Remaining(timeouts, deadline),
        EXTENSION: deadline,
        WATCH_EXTENSION: partial(Interruption, deadline),
    }
    return deadline


def deadline_of(request: httpx2.Request) -> Deadline | None:
    """Return the deadline that a request was started with."""
    found = request.extensions.get(EXTENSION)
    return found if isinstance(found, Deadline) else None


def fixed_end(seconds: float) -> str:
    """Return a deadline that many seconds from now, as the header says it."""
    return f"@{time.time() + seconds:.6f} {seconds:g}"


def time_left(header: str) -> float | None:
    """Return the seconds until the end that `fixed_end` wrote; None for any other deadline."""
    end, _, _ = header.removeprefix("@").partition(" ")
    return float(end) - time.time() if header.startswith("@") else None


def _read(header: str) -> Deadline:
    try:
        left = time_left(header)
        deadline = Deadline(float(header.partition(" ")[2] if header.startswith("@") else header), left)
    except ValueError:
        deadline = Deadline(float("nan"))
    if not deadline.seconds < float("inf"):
        raise SettingsError(
            f"{DEADLINE_HEADER}: {header!r} is no number of seconds", help_message="Pass seconds such as 30."
        )
    return deadline
