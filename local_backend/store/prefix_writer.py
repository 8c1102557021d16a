"""Writes segments in a thread of its own, so that the engine never waits for the disk."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

from local_backend.cache.prefix_tier import SegmentName
from local_backend.store.prefix_files import SegmentFiles
from local_backend.store.prefix_limits import trim

__all__ = ["PrefixWriter"]

FLUSH_SECONDS = 2.0
WRITES_BETWEEN_LOOKS = 64  # other processes write too

_log = logging.getLogger(__name__)


class PrefixWriter:
    """A bounded queue of segments and the thread that empties it, started by the first segment.

    Args:
        files: Where they go.
        limit: Bytes that prefixes of all models may take on disk.
        queue_bytes: Bytes that may wait; one segment always may.
    """

    def __init__(self, files: SegmentFiles, *, limit: int, queue_bytes: int) -> None:
        self._files = files
        self._limit = limit
        self._most_waiting = max(1, queue_bytes // files.segment_bytes)
        self._waiting: OrderedDict[SegmentName, bytearray] = OrderedDict()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = limit < files.file_bytes
        self._on_disk: int | None = None
        self._until_look = 0

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken: closed, the disk failed, or the limit is below one segment."""
        return self._closed

    @property
    def full(self) -> bool:
        """Whether the queue has no room now."""
        return len(self._waiting) >= self._most_waiting

    def is_waiting(self, name: SegmentName) -> bool:
        """Whether a segment is queued."""
        return name in self._waiting

    def put(self, name: SegmentName, data: bytearray) -> None:
        """Queue a segment; the data are the writer's from now on."""
        with self._condition:
            if self._closed:
                return
            self._waiting[name] = data
            if self._thread is None:
                # A daemon: one that hangs on a dead disk must not keep the process.
                self._thread = threading.Thread(target=self._run, name="deepseek-prefix-writer", daemon=True)
                self._thread.start()
            self._condition.notify()

    def close(self) -> None:
        """Take nothing more, and write what is queued for at most two seconds; idempotent."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            name, data = taken
            try:
                self._make_room()
                self._files.write(name, data)
            except OSError as error:
                self._give_up(error)
                return
            with self._condition:  # only now, so that it is found in one place or the other
                self._waiting.pop(name, None)

    def _next(self) -> tuple[SegmentName, bytearray] | None:
        with self._condition:
            while not self._waiting and not self._closed:
                self._condition.wait()
            return next(iter(self._waiting.items()), None)

    def _make_room(self) -> None:
        size = self._files.file_bytes
        if self._on_disk is None or not self._until_look or self._on_disk + size > self._limit:
            self._on_disk = trim(self._limit - size, self._files.directory.parent)
            self._until_look = WRITES_BETWEEN_LOOKS
        self._on_disk += size
        self._until_look -= 1

    def _give_up(self, error: OSError) -> None:
        _log.warning("prefixes are no longer written to %s: %s", self._files.directory, error)
        with self._condition:
            self._closed = True
            self._waiting.clear()
