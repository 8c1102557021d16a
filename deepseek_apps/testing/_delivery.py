"""Writes one answer to a socket, mistreated as its faults say. Knows nothing of what is inside."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from deepseek_apps.testing._faults import Faults
from deepseek_apps.testing._generation import Answer
from deepseek_apps.testing._service import Outgoing

__all__ = ["Delivery"]

_KEEP_ALIVE = b": keep-alive\n\n"
_BLANK_LINE = b"\n"
_POLL_SECONDS = 0.02


class Delivery:
    """Sends one answer.

    Args:
        handler: Owns the connection.
        closing: Set when the fake ends; every wait ends with it.
        client_left: Set when the client is seen to have gone.
    """

    def __init__(
        self, handler: BaseHTTPRequestHandler, closing: threading.Event, client_left: threading.Event
    ) -> None:
        self._handler = handler
        self._release: Callable[[], None] = lambda: None
        self._closing = closing
        self._client_left = client_left

    def send(self, outgoing: Outgoing) -> None:
        """Send it; a client that goes away ends it quietly."""
        self._release = outgoing.release
        try:
            self._send(outgoing.answer, outgoing.faults)
        except OSError:
            self._client_left.set()
            self._handler.close_connection = True

    def _send(self, answer: Answer, faults: Faults) -> None:
        self._wait(faults.delay)
        if faults.disconnect:
            self._handler.close_connection = True
            return
        body = () if faults.empty_body else answer.parts
        plain = len(body) <= 1 and not answer.streams and faults.keep_alives == 0
        whole = plain and faults.cut is None and faults.hang_after is None
        self._head(answer, faults, None if not whole else sum(map(len, body)))
        if whole:
            self._release()
            self._handler.wfile.write(b"".join(body))
            return
        for _ in range(faults.keep_alives):
            self._wait(faults.keep_alive_every)
            self._chunk(_KEEP_ALIVE if answer.streams else _BLANK_LINE)
        if self._body(body, faults, streams=answer.streams):
            self._handler.wfile.write(b"0\r\n\r\n")

    def _head(self, answer: Answer, faults: Faults, length: int | None) -> None:
        handler = self._handler
        handler.send_response_only(answer.status)
        content_type = answer.content_type if faults.content_type is None else faults.content_type
        if content_type:
            handler.send_header("content-type", content_type)
        if length is None:
            handler.send_header("transfer-encoding", "chunked")
        else:
            handler.send_header("content-length", str(length))
        for name, value in (*answer.headers, *faults.headers):
            handler.send_header(name, value)
        handler.end_headers()

    def _body(self, parts: tuple[bytes, ...], faults: Faults, *, streams: bool) -> bool:
        """Write the parts; return whether the body is to be ended as it should."""
        last = len(parts) - 1 if faults.cut_after is None else faults.cut_after
        for index, part in enumerate(parts):
            if faults.hang_after is not None and (index >= faults.hang_after or not streams):
                return self._hang()
            if faults.cut and (index >= last or not streams):
                return self._cut(part, faults, streams=streams)
            if index >= len(parts) - 2:  # the last one is "[DONE]", and a client may not read that far
                self._release()
            self._chunk(part)
            self._wait(faults.per_chunk)
        if faults.hang_after is not None:
            return self._hang()
        return faults.cut is None or self._cut(b"", faults, streams=streams)

    def _cut(self, part: bytes, faults: Faults, *, streams: bool) -> bool:
        if faults.cut == "no_done":
            return True
        if faults.cut == "half_chunk" and part:
            self._handler.wfile.write(b"%x\r\n" % len(part) + part[: len(part) // 2])
        elif not streams:
            self._chunk(part[: len(part) // 2])
        self._handler.close_connection = True
        return False

    def _chunk(self, part: bytes) -> None:
        if part:
            self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._closing.wait(seconds)

    def _hang(self) -> bool:
        """Send nothing until the client goes or the fake ends."""
        self._handler.close_connection = True
        connection: socket.socket = self._handler.connection
        connection.settimeout(_POLL_SECONDS)
        while not self._closing.is_set():
            try:
                gone = connection.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                gone = True
            if gone:
                self._client_left.set()
                break
        return False
