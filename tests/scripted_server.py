"""A loopback server that answers chat completions from a script and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_cache_hit_tokens": 4}


@dataclass
class Reply:
    """One scripted answer; a hanging one stops after its deltas until the client goes away."""

    content: list[str] = field(default_factory=lambda: ["Hel", "lo."])
    reasoning: list[str] = field(default_factory=list)
    finish_reason: str | None = "stop"
    status: int = 200
    error: str = ""
    hang: bool = False


@dataclass
class ScriptedServer:
    """What tests see: where it listens, what it got, and whether a client left early."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    client_left: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if self.replies else Reply()


@contextmanager
def scripted_server(*replies: Reply) -> Iterator[ScriptedServer]:
    """Serve the replies in order, then default ones."""
    server = ScriptedServer(replies=list(replies))
    listener = _Listener(server)
    server.url = f"http://127.0.0.1:{listener.server_port}/v1"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Listener(ThreadingHTTPServer):
    """Carries the script to its handlers."""

    def __init__(self, script: ScriptedServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._send_json(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.script.requests.append(body)
        reply = self.server.script.next_reply()
        if reply.status != 200:
            self._send_json(reply.status, {"error": {"message": reply.error, "type": "scripted"}})
        elif body.get("stream"):
            self._stream(reply)
        else:
            self._send_json(200, _completion(reply))

    def _send_json(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for delta in _deltas(reply):
            self._event(_chunk(delta))
        if reply.hang:
            self._wait_for_client()
        elif reply.finish_reason:
            self._event(_chunk({"content": ""}, reply.finish_reason) | {"usage": USAGE})
            self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def _wait_for_client(self) -> None:
        self.connection.settimeout(0.05)
        while not self.server.script.closing.is_set():
            try:
                gone = self.connection.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                gone = True
            if gone:
                self.server.script.client_left.set()
                return


def _deltas(reply: Reply) -> list[dict[str, Any]]:
    thoughts = [{"reasoning_content": text, "content": None} for text in reply.reasoning]
    return [{"role": "assistant", "content": ""}, *thoughts, *({"content": text} for text in reply.content)]


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "scripted",
        "choices": [choice],
    }


def _completion(reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(reply.content)}
    if reply.reasoning:
        message["reasoning_content"] = "".join(reply.reasoning)
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "scripted"}
    return head | {"choices": [choice], "usage": USAGE}
