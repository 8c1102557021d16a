"""Requests and responses as plain data: what `handle` takes and gives, whatever carries it.

The ASGI app and the in-process transport both speak these types. Nothing here knows a route or a model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["BrokenAnswerError", "ByteStream", "Request", "Response"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        method: In capitals, such as "POST".
        path: Without the query string, such as "/v1/chat/completions".
        headers: Names in lower case.
        body: The whole body.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class BrokenAnswerError(Exception):
    """Raised by a body's source when the answer failed before its first byte.

    Args:
        response: The answer to give where the status can still be chosen.
        in_band: The bytes to give where "200 OK" has already been said.
    """

    def __init__(self, response: Response, in_band: Iterable[bytes]) -> None:
        super().__init__(f"failed before the first byte, status {response.status}")
        self.response = response
        self.in_band = in_band


class ByteStream:
    """The body of a response: an iterator of non-empty byte strings that may be closed from any thread.

    One thread reads; any other may call `close()` meanwhile. A reader that is blocked in `next()` then ends
    as soon as the source lets go, without another byte. A stream that is dropped unread closes itself.

    Args:
        source: Gives the bytes; blocks while the next ones are being made.
        on_close: Makes a blocked source let go; called once, at the latest when the stream ends.
    """

    def __init__(self, source: Iterable[bytes], on_close: Callable[[], None] | None = None) -> None:
        self._source = iter(source)
        self._on_close = on_close
        self._close_lock = threading.Lock()
        self._closed = False
        self._peeked: bytes | None = None
        self._failure: Response | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._peeked is not None and not self._closed:
            chunk, self._peeked = self._peeked, None
            return chunk
        return self._pull()

    def peek(self) -> Response | None:
        """Wait for the first bytes and keep them for `next()`.

        Returns:
            None when there is an answer; otherwise the error response to send in its place.
        """
        if self._peeked is None:
            self._peeked = next(self, None)
        return self._failure

    def close(self) -> None:
        """Stop: cancel the generation behind the stream and free what it holds. Idempotent."""
        with self._close_lock:
            self._closed = True
            on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def __del__(self) -> None:
        self.close()

    def _pull(self) -> bytes:
        while not self._closed:
            try:
                chunk = next(self._source)
            except BrokenAnswerError as error:
                self._failure = error.response
                self._source = iter(error.in_band)
                continue
            except BaseException:
                self.close()
                raise
            if chunk and not self._closed:
                return chunk
        raise StopIteration


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response.

    Attributes:
        status: HTTP status; see `settled` for answers that fail before their first byte.
        headers: Names in lower case.
        body: Close it when it is not read to its end.
    """

    status: int
    headers: dict[str, str]
    body: ByteStream

    @property
    def streaming(self) -> bool:
        """Whether the body is a stream of server-sent events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def settled(self) -> Response:
        """Wait for the first bytes of the body and return the response with its final status.

        `handle` returns at once, so that even a queued request can be closed. An engine that fails before
        the first byte still deserves its own status: whoever can wait calls this before sending headers.
        """
        failure = self.body.peek()
        return self if failure is None else failure

    @classmethod
    def of(cls, status: int, body: bytes, content_type: str = "", **headers: str) -> Response:
        """Build a response whose body is already there; an empty content type sends no such header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type:
            named["content-type"] = content_type
        named["content-length"] = str(len(body))
        return cls(status=status, headers=named, body=ByteStream([body]))
