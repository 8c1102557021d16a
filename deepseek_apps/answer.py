"""One question to a model as a stream of text deltas, the same whether the wire streams or not.

Folds what arrives into an `Answer` while it passes, so an interrupted answer keeps what it has. It neither
prints nor chooses a backend: the client given to it does that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from deepseek_apps.errors import UnreachableError, from_openai_error

if TYPE_CHECKING:
    from openai import Stream
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

    from deepseek_apps.client import DeepSeek

__all__ = ["Answer", "AnswerStream", "Question", "TextDelta", "Usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask.

    Attributes:
        messages: Chat messages in wire form, oldest first.
        model: Model name; None is the client's default.
        temperature: Sampling temperature, 0 to 2; None leaves it to the backend.
        max_tokens: Upper bound on new tokens; None leaves it to the backend.
        seed: Makes sampling repeatable where the backend can.
        stream: Whether to ask for tokens as they come.
    """

    messages: list[dict[str, Any]]
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stream: bool = True

    def typed_messages(self) -> list[ChatCompletionMessageParam]:
        """Return the messages under the SDK's type, which lacks reasoning_content."""
        return cast("list[ChatCompletionMessageParam]", self.messages)

    def parameters(self) -> dict[str, Any]:
        """Return the sampling fields that were set, in wire form."""
        fields = {"temperature": self.temperature, "max_tokens": self.max_tokens, "seed": self.seed}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer, or of the thinking before it."""

    kind: Literal["reasoning", "content"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts of one answer; a count the backend did not report is 0."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_cache_hit_tokens: int = 0

    @classmethod
    def from_wire(cls, usage: Mapping[str, Any]) -> Usage:
        """Read DeepSeek's cache fields, or OpenAI's where a server sends those instead."""
        details = usage.get("prompt_tokens_details") or {}
        cached = usage.get("prompt_cache_hit_tokens") or details.get("cached_tokens") or 0
        return cls(
            prompt_tokens=usage.get("prompt_tokens") or 0,
            completion_tokens=usage.get("completion_tokens") or 0,
            prompt_cache_hit_tokens=cached,
        )


@dataclass(slots=True, kw_only=True)
class Answer:
    """All that is known of an answer so far; `finish_reason` is None until it is complete.

    Attributes:
        content: The answer.
        reasoning_content: The thinking before it, empty for models that show none.
        model: Model name the backend reported.
        backend: Who answered: local, hosted or server.
        finish_reason: stop, length, tool_calls or content_filter.
        usage: Token counts as the backend sent them.
        first_token_seconds: From sending the request to its first text; None before it.
        seconds: From sending the request to the latest event.
    """

    content: str = ""
    reasoning_content: str = ""
    model: str = ""
    backend: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    first_token_seconds: float | None = None
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Decoding speed after the first token; None when too little is known."""
        count = Usage.from_wire(self.usage).completion_tokens
        if self.first_token_seconds is None or count < 2 or self.seconds <= self.first_token_seconds:
            return None
        return (count - 1) / (self.seconds - self.first_token_seconds)


class AnswerStream:
    """Ask, then iterate over the deltas; `answer` grows as they pass.

    Leaving the context (or calling close) before the end cancels the generation.

    Args:
        client: Where to ask.
        question: What to ask.

    Raises:
        DeepSeekAppsError: While iterating: the request failed, or the stream broke off.
    """

    def __init__(self, client: DeepSeek, question: Question) -> None:
        self.answer = Answer(backend=client.backend_name, model=question.model or "")
        self._client = client
        self._question = question
        self._started = 0.0
        self._stream: Stream[ChatCompletionChunk] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading; the backend cancels what is still running. Idempotent."""
        if self._stream is not None:
            self._stream.close()

    def __iter__(self) -> Iterator[TextDelta]:
        import httpx2  # noqa: PLC0415  lazy: the SDK and its HTTP library cost 0.6 s
        import openai  # noqa: PLC0415

        self._started = time.perf_counter()
        try:
            # A server may have to be asked for its default.
            self.answer.model = self._question.model or self._client.default_model
            yield from self._streamed() if self._question.stream else self._whole()
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise from_openai_error(error) from error

    def _whole(self) -> Iterator[TextDelta]:
        completion = self._client.chat.completions.create(
            model=self.answer.model,
            messages=self._question.typed_messages(),
            stream=False,
            **self._question.parameters(),
        )
        self.answer.model = completion.model
        self._note_usage(completion.usage)
        choice = completion.choices[0]
        yield from self._take(choice.message)
        self.answer.finish_reason = choice.finish_reason

    def _streamed(self) -> Iterator[TextDelta]:
        self._stream = self._client.chat.completions.create(
            model=self.answer.model,
            messages=self._question.typed_messages(),
            stream=True,
            stream_options={"include_usage": True},
            **self._question.parameters(),
        )
        for chunk in self._stream:
            self.answer.model = chunk.model or self.answer.model
            self._note_usage(chunk.usage)
            for choice in chunk.choices[:1]:
                yield from self._take(choice.delta)
                self.answer.finish_reason = choice.finish_reason or self.answer.finish_reason
        if self.answer.finish_reason is None:
            raise UnreachableError(
                "the answer broke off: the stream ended without a finish_reason",
                help_message="Ask again; what arrived is above.",
            )

    def _take(self, part: object) -> Iterator[TextDelta]:
        # DeepSeek and most servers say reasoning_content, vLLM says reasoning; the SDK types neither.
        reasoning = getattr(part, "reasoning_content", None) or getattr(part, "reasoning", None)
        self.answer.seconds = time.perf_counter() - self._started
        if reasoning:
            text = _valid_text(reasoning)
            self._note_first_token()
            self.answer.reasoning_content += text
            yield TextDelta("reasoning", text)
        if content := getattr(part, "content", None):
            text = _valid_text(content)
            self._note_first_token()
            self.answer.content += text
            yield TextDelta("content", text)

    def _note_first_token(self) -> None:
        if self.answer.first_token_seconds is None:
            self.answer.first_token_seconds = self.answer.seconds

    def _note_usage(self, usage: CompletionUsage | None) -> None:
        if usage is not None:
            self.answer.usage = usage.model_dump(exclude_none=True)


def _valid_text(text: str) -> str:
    """Replace lone surrogates, which JSON can carry and neither a terminal nor SQLite can take."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
