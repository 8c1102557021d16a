"""A loopback server for adapter.py: answers every chat with bytes prepared beforehand, as fast as it can.

Usage: adapter_server.py TOKENS; prints its port and serves until it is ended.
"""

from __future__ import annotations

import json
import socketserver
import sys

HEAD = {"id": "0b", "created": 1790000000, "model": "deepseek-flash", "system_fingerprint": "fp_0"}
USAGE = {
    "prompt_tokens": 212,
    "completion_tokens": 40,
    "total_tokens": 252,
    "prompt_tokens_details": {"cached_tokens": 128},
    "completion_tokens_details": {"reasoning_tokens": 25},
    "prompt_cache_hit_tokens": 128,
    "prompt_cache_miss_tokens": 84,
}


def main() -> None:
    replies = {True: stream(int(sys.argv[1])), False: whole()}

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while (body := read_request(self.rfile)) is not None:
                self.wfile.write(replies[b'"stream":true' in body.replace(b" ", b"")])

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def read_request(file: object) -> bytes | None:
    """Return the body of the next request on a connection; None when the client has gone."""
    length, line = 0, file.readline()
    if not line:
        return None
    while line not in (b"\r\n", b""):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
        line = file.readline()
    return file.read(length)


def whole() -> bytes:
    """Return a complete reply, head included."""
    message = {
        "role": "assistant",
        "content": "Rayleigh scattering. " * 8,
        "reasoning_content": "Short. " * 8,
    }
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    body = json.dumps(HEAD | {"object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


def stream(tokens: int) -> bytes:
    """Return a streamed reply, head included, one chunk of the transfer encoding per event."""
    deltas = [{"role": "assistant", "content": None, "reasoning_content": ""}]
    deltas += [{"content": None, "reasoning_content": " think"}] * (tokens // 4)
    deltas += [{"content": " word", "reasoning_content": None}] * (tokens - tokens // 4)
    events = [event(delta) for delta in deltas]
    events += [event({"content": "", "reasoning_content": None}, "stop"), b"data: [DONE]\n\n"]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(data), data) for data in events)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + chunks + b"0\r\n\r\n"


def event(delta: dict[str, object], finish_reason: str | None = None) -> bytes:
    """Return one server-sent event; usage is on the last."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    usage = {"usage": USAGE if finish_reason else None}
    return (
        b"data: %s\n\n"
        % json.dumps(HEAD | {"object": "chat.completion.chunk", "choices": [choice]} | usage).encode()
    )


if __name__ == "__main__":
    main()
