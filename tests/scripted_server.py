"""An OpenAI-compatible server of one model, in the CLI tests' words: FakeDeepSeek with short replies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from deepseek_apps.testing import FakeDeepSeek
from deepseek_apps.testing import Reply as Answer

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_cache_hit_tokens": 4}
MODELS = ("scripted", "other")


@dataclass(frozen=True)
class Reply:
    """One answer; without a finish_reason the stream breaks off, a hanging one waits for the client to go."""

    content: list[str] = field(default_factory=lambda: ["Hel", "lo."])
    reasoning: list[str] = field(default_factory=list)
    finish_reason: str | None = "stop"
    status: int = 200
    error: str = ""
    hang: bool = False


class ScriptedServer:
    """What tests see: where it listens, what it was asked, and whether a client left early."""

    def __init__(self, fake: FakeDeepSeek) -> None:
        self._fake = fake

    @property
    def url(self) -> str:
        return f"{self._fake.url}/v1"

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [request.body for request in self._fake.requests if request.method == "POST"]

    @property
    def client_left(self) -> threading.Event:
        return self._fake.client_left

    def _set_replies(self, replies: list[Reply]) -> None:
        for reply in replies:
            self._queue(reply)

    replies = property(fset=_set_replies, doc="Assigned replies are queued after those that wait.")

    def _queue(self, reply: Reply) -> None:
        if reply.status != 200:
            self._fake.fail(reply.status, reply.error)
            return
        said = 1 + len(reply.reasoning) + len(reply.content)
        if reply.hang:
            self._fake.hang(said)
        elif reply.finish_reason is None:
            self._fake.cut(said, how="no_done")
        self._fake.reply(
            reply.content, reasoning=reply.reasoning, finish_reason=reply.finish_reason, usage=USAGE
        )


@contextmanager
def scripted_server(*replies: Reply) -> Iterator[ScriptedServer]:
    """Serve the replies in order, then default ones."""
    with FakeDeepSeek(api_key="", models=MODELS, count_tokens=False, context=10**8) as fake:
        fake.responder = lambda request: Answer(["Hel", "lo."], usage=USAGE)
        server = ScriptedServer(fake)
        server.replies = list(replies)
        yield server
