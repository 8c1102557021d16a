"""A handler under uvicorn on a free loopback port, in a thread of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from local_backend.server import RequestHandler
from local_backend.server.app import create_app
from local_backend.server.launch import bind


@contextmanager
def serving(handler: RequestHandler, **app_options: Any) -> Iterator[int]:
    """Serve while the block runs; gives the port."""
    sock = bind("127.0.0.1", 0)
    config = uvicorn.Config(
        create_app(handler, **app_options), log_level="warning", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()
    assert not thread.is_alive()
