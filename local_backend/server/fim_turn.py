"""Tokens to text-completion chunks: the classic shape, which the recipe does not know."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from local_backend.families.detokenizer import Detokenizer
from local_backend.families.stop_strings import StopMatcher
from local_backend.sequence import SequenceOutput, TokenLogprob
from local_backend.server.logprobs import token_entry
from local_backend.server.reply_head import ReplyHead

if TYPE_CHECKING:
    from local_backend.families.tokenizer import Tokenizer

__all__ = ["FimTurn"]


class FimTurn:
    """One completion in the making; implements `answer.Turn`.

    Args:
        tokenizer: For text and token bytes.
        head: What every chunk repeats.
        stop: Stop strings; the text ends before the first of them.
        echo: Text to return before the completion.
        include_usage: Whether the chunks before the last have a `usage` member too, null.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        head: ReplyHead,
        *,
        stop: Sequence[str] = (),
        echo: str = "",
        include_usage: bool = False,
    ) -> None:
        self._head = head
        self._detokenizer = Detokenizer(tokenizer)
        self._matcher = StopMatcher(stop)
        self._include_usage = include_usage
        self._unsent = echo
        self._text = ""
        self._logprobs = CompletionLogprobs(tokenizer, start=len(echo))
        self._usage = {"prompt": head.num_prompt_tokens, "hit": 0, "completion": 0}
        self._finish_reason: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the reply is complete."""
        return self._finish_reason is not None

    def push(self, output: SequenceOutput) -> list[str]:
        """Take one output of the engine; return the chunks it completes."""
        self._usage |= {"prompt": output.num_prompt_tokens, "hit": output.num_cached_tokens}
        decoded = ""
        if output.token_id is not None:
            self._usage["completion"] += 1
            decoded = self._detokenizer.push(output.token_id)
            self._logprobs.add(output.token_id, output.logprob, decoded)
        if output.finish_reason:
            decoded += self._detokenizer.finish()
        text, stopped = self._matcher.push(decoded)
        if stopped:
            self._finish_reason = "stop"
        elif output.finish_reason:
            text += self._matcher.finish()
            self._finish_reason = output.finish_reason
        self._unsent += text
        return [self._chunk()] if self._unsent or self.finished else []

    def give_up(self) -> list[str]:
        """End with finish_reason "insufficient_system_resource", keeping what was said."""
        if self.finished:
            return []
        self._finish_reason = "insufficient_system_resource"
        return [self._chunk()]

    def whole(self) -> str:
        """Return the folded reply."""
        return self._body(self._text, self._logprobs.all())

    def _chunk(self) -> str:
        text, self._unsent = self._unsent, ""
        self._text += text
        return self._body(text, self._logprobs.take(len(self._text)))

    def _body(self, text: str, logprobs: dict[str, Any] | None) -> str:
        choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": self._finish_reason}
        body: dict[str, Any] = {
            "id": self._head.id,
            "object": "text_completion",
            "created": self._head.created,
            "model": self._head.model,
            "choices": [choice],
            "system_fingerprint": self._head.fingerprint,
        }
        if self.finished:
            body["usage"] = self._usage_member()
        elif self._include_usage:
            body["usage"] = None
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    def _usage_member(self) -> dict[str, Any]:
        prompt, hit, completion = self._usage["prompt"], self._usage["hit"], self._usage["completion"]
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": hit},
            "prompt_cache_hit_tokens": hit,
            "prompt_cache_miss_tokens": prompt - hit,
        }


class CompletionLogprobs:
    """The classic lists: `tokens`, `token_logprobs`, `top_logprobs`, `text_offset`.

    A token belongs to the reply when its text begins before the reply's end; a stop string's do not.
    """

    def __init__(self, tokenizer: Tokenizer, *, start: int) -> None:
        self._tokenizer = tokenizer
        self._offset = start
        self._pending: deque[tuple[int, str, TokenLogprob]] = deque()
        self._all: dict[str, list[Any]] | None = None

    def add(self, token_id: int, logprob: TokenLogprob | None, decoded: str) -> None:
        """Remember a generated token and the text that it completed."""
        if logprob is not None:
            self._pending.append((self._offset, self._spelling(token_id), logprob))
        self._offset += len(decoded)

    def take(self, end: int) -> dict[str, list[Any]] | None:
        """Return the lists for the tokens that begin before offset `end` and were not yet given."""
        lists: dict[str, list[Any]] = {
            "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []
        }  # fmt: skip
        while self._pending and self._pending[0][0] < end:
            offset, spelling, logprob = self._pending.popleft()
            top = {self._spelling(token_id): value for token_id, value in logprob.top}
            row = (spelling, logprob.logprob, top, offset)
            for column, value in zip(lists.values(), row, strict=True):
                column.append(value)
        if not lists["tokens"]:
            return None
        self._all = {name: (self._all or {}).get(name, []) + values for name, values in lists.items()}
        return lists

    def all(self) -> dict[str, list[Any]] | None:
        """Return the lists of a whole reply."""
        return self._all

    def _spelling(self, token_id: int) -> str:
        return str(token_entry(self._tokenizer, token_id, 0.0)["token"])
