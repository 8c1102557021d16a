"""A loopback DeepSeek for batches: counts what it is asked, allows so many at once, fails on request.

Answers are hand-written in the documented shape; each names the custom_id it was asked with, as its content.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

OUT_OF_SLOTS = (
    "Your current concurrency is {now}, which exceeds your concurrency limit of {most} based on your "
    "remaining balance. Please top up your balance to restore your concurrency."
)


@dataclass
class BatchServer:
    """What it was asked and how it behaves.

    Attributes:
        most: Requests it takes at once; more get 429.
        names_limit: Whether the 429 says how many.
        seconds: How long an answer takes.
        replies: Status and body instead of an answer, given the prompt and how often it was asked before.
    """

    most: int = 1000
    names_limit: bool = False
    seconds: float = 0.005
    replies: Callable[[str, int], tuple[int, bytes] | None] = lambda prompt, times: None
    asked: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    refused: int = 0
    at_once: int = 0
    peak: int = 0
    url: str = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
                length = int({name.lower(): value for name, value in fields.items()}.get("content-length", 0))
                self.paths.append(head.split()[1].decode())
                status, body = await self.answer(await reader.readexactly(length))
                if status == 0:  # cut the connection without a word
                    return
                writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/octet-stream\r\n" % status)
                writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, data: bytes) -> tuple[int, bytes]:
        if not data:
            return 200, json.dumps({"object": "list", "data": [{"id": "toy"}]}).encode()
        body = json.loads(data)
        prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        if self.at_once >= self.most:
            self.refused += 1
            text = (
                OUT_OF_SLOTS.format(now=self.at_once + 1, most=self.most) if self.names_limit else "Too many"
            )
            return 429, error_body(text)
        self.bodies.append(body)
        before = self.asked[prompt]
        self.asked[prompt] += 1
        self.at_once += 1
        self.peak = max(self.peak, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        return self.replies(prompt, before) or (200, completion(prompt, body.get("model", "")))

    async def __aenter__(self) -> BatchServer:
        self._server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await asyncio.sleep(0)


def completion(content: str, model: str = "toy", finish_reason: str = "stop") -> bytes:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": finish_reason,
    }
    row = {"id": f"chat-{content}", "object": "chat.completion", "created": 1790000000, "model": model}
    return json.dumps(row | {"choices": [choice], "usage": usage}, ensure_ascii=False).encode()


def error_body(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "x", "code": "invalid_request_error"}}).encode()


def batch_line(custom_id: str, model: str | None = "deepseek-flash", **body: Any) -> str:
    """One line of a batch file; its prompt is its custom_id."""
    messages = [{"role": "user", "content": custom_id}]
    named = {} if model is None else {"model": model}
    row = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps(row | {"body": {**named, "messages": messages, **body}}, ensure_ascii=False)


def batch_file(count: int, **body: Any) -> str:
    """A batch file of so many lines, named r0, r1, …"""
    return "".join(batch_line(f"r{number}", **body) + "\n" for number in range(count))
