"""One request for text becoming the events of its answer: check, count, pick a reply, write, shape."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from deepseek_recipe import (
    ConversationRequest,
    ConversionError,
    DeepseekV4Encoding,
    DeepseekV41Encoding,
    ModelVersion,
)

from deepseek_apps.testing._chat import ChatShape
from deepseek_apps.testing._default_reply import default_fim_reply, default_reply
from deepseek_apps.testing._fim import FimShape, check_fim
from deepseek_apps.testing._ids import Ids
from deepseek_apps.testing._options import FakeOptions
from deepseek_apps.testing._prompt_cache import PromptCache
from deepseek_apps.testing._shapes import Head, usage_of
from deepseek_apps.testing._tokens import CheapCounter, Counter, RealCounter
from deepseek_apps.testing._validation import convert_chat, parse_body, user_id
from deepseek_apps.testing._writing import counted, cut_at_stop, write_chat
from deepseek_apps.testing.failures import HttpError, context_overflow
from deepseek_apps.testing.replies import RawReply, Reply
from deepseek_apps.testing.requests import Request

__all__ = ["Answer", "Generator"]

_STREAM = "text/event-stream; charset=utf-8"
_FIM = "<｜fim▁begin｜>{}<｜fim▁hole｜>{}<｜fim▁end｜>"
_Choose = Callable[[Callable[[], Reply]], Reply]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the listener sends: `parts` are events of a stream, or the one body."""

    parts: tuple[bytes, ...]
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def streams(self) -> bool:
        """Whether the parts are server-sent events."""
        return self.content_type.startswith("text/event-stream")

    @classmethod
    def of(cls, reply: RawReply) -> Answer:
        """Take a reply as it is."""
        return cls(
            parts=reply.parts,
            status=reply.status,
            content_type=reply.content_type,
            headers=tuple(reply.headers.items()),
        )


class Generator:
    """Answers `/chat/completions` and `/completions`; many at once."""

    def __init__(self, ids: Ids, *, count_tokens: bool) -> None:
        self._ids = ids
        self._counter: Counter = RealCounter() if count_tokens else CheapCounter()
        self._cache = PromptCache()

    def chat(self, request: Request, options: FakeOptions, choose: _Choose) -> Answer:
        """Answer a chat request.

        Args:
            request: As it came.
            options: As they are now; `count_tokens` is settled for life.
            choose: Gets a function that makes the default reply, and returns the reply to give.

        Raises:
            HttpError: The API would refuse the request.
        """
        data = parse_body(request.raw)
        asked = convert_chat(request, data, options)
        model = options.canonical(data["model"]) or data["model"]
        salt = (model, user_id(data))
        ids = self._counter.ids(_rendered(asked))
        room = _room(asked, len(ids), options.context_of(model))
        reply = choose(lambda: default_reply(request, asked.conversation))
        stage = asked.parsing_options.thinking_initial_stage
        reasons = stage is not None and stage.starts_in_reasoning()
        written = write_chat(reply, asked, self._counter, room, thinks=reasons)
        said = written.text("reasoning_content") + written.text("content")
        usage = reply.usage or usage_of(
            len(ids),
            self._remember(salt, ids, said),
            written.tokens(),
            written.tokens("reasoning_content") if asked.conversation.thinking_mode else None,
        )
        shape = ChatShape(
            head=self._head(model),
            written=written,
            usage=usage,
            call_ids=tuple(self._ids.call_id(index) for index in range(len(reply.tool_calls))),
            thinking=asked.conversation.thinking_mode,
            reasons=reasons,
            include_usage=bool((data.get("stream_options") or {}).get("include_usage")),
            trailing_usage=options.usage_chunk == "trailing",
            top_logprobs=(asked.inference_options.top_logprobs or 0)
            if asked.inference_options.logprobs
            else None,
        )
        return _answer(shape, stream=asked.stream)

    def fim(self, request: Request, options: FakeOptions, choose: _Choose) -> Answer:
        """Answer a completion; see `chat`."""
        data = parse_body(request.raw)
        asked = check_fim(request, data, options)
        model = options.canonical(data["model"]) or data["model"]
        ids = self._counter.ids(_FIM.format(asked.prompt, asked.suffix))
        context = options.context_of(model)
        if len(ids) + asked.max_tokens > context:
            raise HttpError(context_overflow(context, len(ids), asked.max_tokens))
        reply = choose(lambda: default_fim_reply(asked.prompt, asked.suffix))
        stops = asked.shared.parsing_options.stop_sequences
        pieces, stopped = cut_at_stop(counted(reply.content, self._counter), stops)
        kept = list(_within(pieces, asked.max_tokens))
        finish = reply.finish_reason or "stop"
        used = sum(tokens for _, tokens in kept)
        shape = FimShape(
            head=self._head(model),
            asked=asked,
            pieces=tuple(text for text, _ in kept),
            finish_reason="length" if len(kept) < len(pieces) else "stop" if stopped else finish,
            usage=reply.usage
            or usage_of(len(ids), self._remember((model, user_id(data)), ids, reply.text), used),
        )
        return _answer(shape, stream=asked.shared.stream)

    def _remember(self, salt: Hashable, ids: Sequence[Hashable], said: str) -> int:
        """Return the cache's hit, and keep prompt and answer for the next request."""
        hit = self._cache.hit(salt, ids)
        self._cache.store(salt, [*ids, *self._counter.ids(said)])
        return hit

    def _head(self, model: str) -> Head:
        return Head(id=self._ids.reply_id(), model=model, created=int(time.time()))


def _rendered(asked: ConversationRequest) -> str:
    is_v4 = asked.model_version == ModelVersion.DeepseekV4Pro
    encoding = DeepseekV4Encoding() if is_v4 else DeepseekV41Encoding()
    return encoding.render_conversation(asked.conversation).prompt


def _room(asked: ConversationRequest, prompt_tokens: int, context: int) -> int:
    try:
        return asked.resolve_max_tokens(prompt_tokens, context)
    except ConversionError as error:
        raise HttpError(RawReply(parts=(error.body.encode(),), status=error.status_code)) from None


def _within(pieces: Sequence[tuple[str, int]], max_tokens: int) -> Iterator[tuple[str, int]]:
    used = 0
    for text, tokens in pieces:
        used += tokens
        if used > max_tokens:
            return
        yield text, tokens


def _answer(shape: ChatShape | FimShape, *, stream: bool) -> Answer:
    if stream:
        return Answer(parts=tuple(shape.events()), content_type=_STREAM)
    return Answer(parts=(shape.whole(),))
