"""A wall-clock limit for a whole command, like timeout(1)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from deepseek_apps.errors import TimedOutError

__all__ = ["time_limit"]


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TimedOutError in the block once seconds have passed; None sets no limit.

    An alarm signal wakes the main thread even while it is blocked in a read. Where there are no alarms
    (Windows, any thread but the main one) this does nothing and the client's time-out between bytes rules.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if seconds is None or not in_main_thread or not hasattr(signal, "setitimer"):
        yield
        return

    def expire(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        raise TimedOutError(
            f"no complete answer within {seconds:g} s",
            help_message="Raise --timeout, or ask for less with --max-tokens.",
        )

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
