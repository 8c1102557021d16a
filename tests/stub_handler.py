"""A request handler that streams what a test tells it to, in the real body type."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fake_deepseek import chunk

from local_backend.server.messages import ByteStream, Request, Response

DONE = b"data: [DONE]\n\n"


@dataclass
class StubHandler:
    """Answers every chat with `texts`; a held handler gives each chunk only when `release` is called.

    Attributes:
        texts: One content delta each.
        held: Wait for `release` before each delta.
        silent: Never give a byte.
    """

    texts: tuple[str, ...] = ("Hel", "lo.")
    held: bool = False
    silent: bool = False
    requests: list[Request] = field(default_factory=list)
    produced: list[str] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    _permits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def release(self) -> None:
        self._permits.release()

    def handle(self, request: Request) -> Response:
        self.requests.append(request)
        fields: dict[str, Any] = json.loads(request.body) if request.body else {}
        gone = threading.Event()

        def on_close() -> None:
            gone.set()
            self.cancelled.set()

        headers = {"content-type": "text/event-stream" if fields.get("stream") else "application/json"}
        source = self._stream(gone) if fields.get("stream") else self._whole(gone)
        return Response(status=200, headers=headers, body=ByteStream(source, on_close))

    def _deltas(self, gone: threading.Event) -> Iterator[str]:
        self.started.set()
        while self.silent and not gone.wait(0.01):
            pass
        for text in self.texts:
            while self.held and not self._permits.acquire(timeout=0.01):
                if gone.is_set():
                    return
            if gone.is_set():
                return
            self.produced.append(text)
            yield text

    def _stream(self, gone: threading.Event) -> Iterator[bytes]:
        for text in self._deltas(gone):
            yield chunk({"role": "assistant", "content": text}, model="stub")
        yield chunk({"content": ""}, "stop", model="stub")
        yield DONE

    def _whole(self, gone: threading.Event) -> Iterator[bytes]:
        message = {"role": "assistant", "content": "".join(self._deltas(gone))}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "stub"}
        yield json.dumps(body | {"choices": [choice], "usage": usage}).encode()
