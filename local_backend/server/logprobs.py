"""Log probabilities of the tokens whose text is in the reply, in the dialect's shape.

Tokens and chunks do not line up: stop strings, markup and split characters hold text back. The track keeps
a token until text of its length has been sent, so that the reported tokens are those of the reply: a stop
string, think tags and tool calls are left out.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from local_backend.sequence import TokenLogprob

if TYPE_CHECKING:
    from local_backend.families.tokenizer import Tokenizer

__all__ = ["LogprobTrack", "token_entry"]


def token_entry(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    """Describe one token: `token` (text, with replacement characters for cut ones), `logprob`, `bytes`."""
    raw = tokenizer.token_bytes(token_id)
    return {"token": raw.decode(errors="replace"), "logprob": logprob, "bytes": list(raw)}


class LogprobTrack:
    """Collects token entries and hands them out with the text they belong to."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pending: deque[dict[str, Any]] = deque()
        self._all: dict[str, list[dict[str, Any]]] = {}
        self._kind = ""
        self._owed = 0  # bytes sent whose tokens have not been handed out

    def add(self, token_id: int, logprob: TokenLogprob) -> None:
        """Remember a generated token."""
        entry = token_entry(self._tokenizer, token_id, logprob.logprob)
        entry["top_logprobs"] = [token_entry(self._tokenizer, *alternative) for alternative in logprob.top]
        self._pending.append(entry)

    def take(self, delta: dict[str, Any], *, stopped: str | None) -> dict[str, Any] | None:
        """Return the `logprobs` member of a chunk, or None.

        Args:
            delta: The chunk's delta.
            stopped: Its finish_reason; what is still pending then was never sent.
        """
        if stopped or delta.get("tool_calls"):
            self._pending.clear()
            return None
        kind = "reasoning_content" if delta.get("reasoning_content") else "content"
        sent = len((delta.get(kind) or "").encode())
        if not sent:
            return None
        if kind != self._kind:
            self._drop_markup(sent)
            self._kind, self._owed = kind, 0
        self._owed += sent
        taken = []
        while self._pending and self._owed > 0:
            entry = self._pending.popleft()
            self._owed -= len(entry["bytes"])
            taken.append(entry)
        self._all.setdefault(kind, []).extend(taken)
        return {kind: taken} if taken else None

    def all(self) -> dict[str, Any] | None:
        """Return the `logprobs` member of a whole reply."""
        return dict(self._all) or None

    def _drop_markup(self, sent: int) -> None:
        """Forget the think tag or the newlines that stood between the last text and this one."""
        surplus = sum(len(entry["bytes"]) for entry in self._pending) - sent
        while self._pending and len(self._pending[0]["bytes"]) <= surplus:
            surplus -= len(self._pending.popleft()["bytes"])
