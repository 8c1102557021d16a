"""A fake DeepSeek on a real loopback port: documented bodies, keep-alive comments, cut streams, redirects.

Hand-written from the API's documentation and recorded bodies of 2026; it is no model and checks nothing.
Tests script replies and read what was asked, headers included.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {
    "prompt_tokens": 212,
    "completion_tokens": 3,
    "total_tokens": 215,
    "prompt_tokens_details": {"cached_tokens": 128},
    "prompt_cache_hit_tokens": 128,
    "prompt_cache_miss_tokens": 84,
}
KEEP_ALIVE = b": keep-alive\n\n"


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def sent(self) -> str:
        """Everything that left the client, for looking for what must not be there."""
        return json.dumps([self.path, dict(self.headers), self.body], default=repr)


@dataclass(frozen=True)
class Reply:
    """One scripted answer.

    Attributes:
        parts: Sent one by one; an Event among them is waited for.
        cut: End without finishing the body, as a lost connection does.
    """

    parts: tuple[bytes | threading.Event, ...]
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class FakeDeepSeek:
    """What tests see of the fake."""

    url: str = ""
    script: list[Reply] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def next_reply(self, asked: Asked) -> Reply:
        if self.script:
            return self.script.pop(0)
        if asked.path.endswith("/models"):
            return models()
        return stream() if isinstance(asked.body, dict) and asked.body.get("stream") else completion()


def completion(content: str = "Hello.", model: str = "deepseek-flash") -> Reply:
    """A whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return Reply(
        (json.dumps(_head(model, "chat.completion") | {"choices": [choice], "usage": USAGE}).encode(),)
    )


def chunk(delta: dict[str, Any], finish_reason: str | None = None, model: str = "deepseek-flash") -> bytes:
    """One event of a stream; usage is on the last one."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    body = _head(model, "chat.completion.chunk") | {"choices": [choice]}
    if finish_reason:
        body["usage"] = USAGE
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def stream(*texts: str, done: bool = True, cut: bool = False) -> Reply:
    """A streamed answer, with the comments that the API sends while a request is queued."""
    parts = [KEEP_ALIVE, chunk({"role": "assistant", "content": ""})]
    parts += [chunk({"content": text}) for text in texts or ("Hel", "lo.")]
    parts += [chunk({"content": ""}, "stop"), b"data: [DONE]\n\n"] if done else []
    return event_stream(*parts, cut=cut)


def event_stream(*parts: bytes | threading.Event, cut: bool = False) -> Reply:
    """Any server-sent events."""
    return Reply(parts, content_type="text/event-stream", cut=cut)


def error(status: int, message: str, kind: str = "invalid_request_error") -> Reply:
    """An error in the API's form."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": "invalid_request_error"}}
    return Reply((json.dumps(body).encode(),), status=status, headers={"x-ds-trace-id": "trace-1"})


def plain(status: int, text: str) -> Reply:
    """An error in plain text, as the gateway sends some."""
    return Reply((text.encode(),) if text else (), status=status, content_type="text/plain")


def redirect(location: str) -> Reply:
    """A redirect to anywhere."""
    return Reply((), status=307, headers={"location": location})


def models(*names: str) -> Reply:
    """The list of served models."""
    rows = [{"id": name, "object": "model", "owned_by": "deepseek"} for name in names or ("deepseek-flash",)]
    return Reply((json.dumps({"object": "list", "data": rows}).encode(),))


@contextmanager
def fake_deepseek(*script: Reply) -> Iterator[FakeDeepSeek]:
    """Serve the script in order, then ordinary answers."""
    fake = FakeDeepSeek(script=list(script))
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    fake.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.closing.set()
        listener.shutdown()
        listener.server_close()
        thread.join()


def _head(model: str, kind: str) -> dict[str, Any]:
    return {
        "id": "0b-1",
        "object": kind,
        "created": 1790000000,
        "model": model,
        "system_fingerprint": "fp_fake",
    }


def _handler(fake: FakeDeepSeek) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

        def log_message(self, *args: object) -> None:
            pass

        def _answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, _decoded(data))
            fake.asked.append(asked)
            try:
                self._send(fake.next_reply(asked))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            self.send_header("content-type", reply.content_type)
            self.send_header("transfer-encoding", "chunked")
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            for part in reply.parts:
                self.wfile.write(_wire(part, fake.closing))
            self.close_connection = reply.cut
            self.wfile.write(b"" if reply.cut else b"0\r\n\r\n")

    return Handler


def _decoded(data: bytes) -> Any:
    """JSON where it is JSON; an upload stays bytes."""
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data


def _wire(part: bytes | threading.Event, closing: threading.Event) -> bytes:
    if isinstance(part, bytes):
        return b"%x\r\n%s\r\n" % (len(part), part)
    while not (part.wait(0.02) or closing.is_set()):
        pass
    return b""
