"""Many streamed answers at once from an OpenAI-compatible server on loopback, each token with its time.

A client of its own, on sockets, because an SDK's work per chunk would take processor time from the server
that is measured: two cores have to do both. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

TIMEOUT = 1800.0


@dataclass(slots=True)
class Answer:
    """One streamed answer; times are seconds since the group was started.

    Attributes:
        stamps: When each piece of text came.
        tokens: Tokens of the answer, as the server counts them.
        finish_reason: "length" for an answer of the wanted length.
    """

    stamps: list[float] = field(default_factory=list)
    tokens: int = 0
    finish_reason: str = ""

    @property
    def rate(self) -> float:
        """Tokens/s from the start, waiting included."""
        return self.tokens / self.stamps[-1]

    @property
    def gaps(self) -> list[float]:
        """Seconds between neighbouring pieces."""
        return [b - a for a, b in zip(self.stamps, self.stamps[1:], strict=False)]


class ServerFailedError(RuntimeError):
    """The server refused a request or broke an answer off; the message has its words."""


def ask_all(port: int, prompts: Sequence[str], max_tokens: int, model: str) -> list[Answer]:
    """Send all prompts at the same moment and wait for all answers.

    Args:
        port: On 127.0.0.1.
        prompts: One user message each.
        max_tokens: Per answer.
        model: What the server calls its model.

    Raises:
        ServerFailedError: An answer is an error, or empty.
    """
    bodies = [request_body(prompt, max_tokens, model) for prompt in prompts]

    async def together() -> list[Answer]:
        start = time.perf_counter()
        return await asyncio.gather(*(_ask(port, body, start) for body in bodies))

    return asyncio.run(asyncio.wait_for(together(), TIMEOUT))


def request_body(prompt: str, max_tokens: int, model: str) -> bytes:
    """Return the JSON of a request for a greedy, streamed answer."""
    fields = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens}
    fields |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(fields).encode()


async def _ask(port: int, body: bytes, start: float) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = Answer()
    try:
        async for event in _events(reader):
            note_event(answer, event, time.perf_counter() - start)
    finally:
        writer.close()
    if not answer.stamps or not answer.tokens:
        raise ServerFailedError("the server sent an answer without text or without usage")
    return answer


def note_event(answer: Answer, event: bytes, now: float) -> None:
    """Add what one chunk says."""
    if event == b"[DONE]":
        return
    chunk = json.loads(event)
    for choice in chunk.get("choices", []):
        if choice.get("delta", {}).get("content"):
            answer.stamps.append(now)
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
    answer.tokens = (chunk.get("usage") or {}).get("completion_tokens", answer.tokens)


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    status = await reader.readline()
    headers = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in status:
        raise ServerFailedError((status + await reader.read(2000)).decode(errors="replace"))
    pending = b""
    async for data in _pieces(reader, chunked=b"chunked" in headers):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


async def _pieces(reader: asyncio.StreamReader, *, chunked: bool) -> AsyncIterator[bytes]:
    if not chunked:
        while data := await reader.read(65536):
            yield data
        return
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]
