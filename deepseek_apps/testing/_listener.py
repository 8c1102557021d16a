"""The socket: a thread for each connection on a free loopback port, and an end that leaves none behind."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

from deepseek_apps.testing._delivery import Delivery
from deepseek_apps.testing._service import Service
from deepseek_apps.testing.requests import Request

__all__ = ["Listener"]

_BACKLOG = 256


class Listener:
    """Listens from construction until `close`.

    Args:
        service: Answers the requests.
        record: Is told of each request before it is answered.
        client_left: Set when a client goes before its answer is complete.
    """

    def __init__(
        self, service: Service, record: Callable[[Request], None], client_left: threading.Event
    ) -> None:
        self._server = _Server(service, record, client_left)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="fake-deepseek"
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """End every wait and connection, and join every thread."""
        self._server.closing.set()
        self._server.shutdown()
        self._server.disconnect_all()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = False  # so that server_close() joins them
    request_queue_size = _BACKLOG

    def __init__(
        self, service: Service, record: Callable[[Request], None], client_left: threading.Event
    ) -> None:
        self.service = service
        self.record = record
        self.client_left = client_left
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        if self.closing.is_set():
            _disconnect(connection)

    def finished(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def disconnect_all(self) -> None:
        with self._lock:
            for connection in self._open:
                _disconnect(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay quiet: a connection that breaks under a test is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.finished(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

    def _answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(method=self.command, path=self.path, headers=headers, raw=raw)
        self.server.record(request)
        with self.server.service.answering(request) as outgoing:
            Delivery(self, self.server.closing, self.server.client_left).send(outgoing)


def _disconnect(connection: socket.socket) -> None:
    with suppress(OSError):  # the client may have been faster
        connection.shutdown(socket.SHUT_RDWR)
