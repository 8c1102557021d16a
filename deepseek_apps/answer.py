"""One question to a model as a stream of text deltas, the same whether the wire streams or not.

Speaks to the backend's transport itself and not through the openai SDK, whose import alone would take a
third of a second from every command. Folds what arrives into an `Answer` while it passes, so an interrupted
answer keeps what it has. It neither prints nor chooses a backend: the client given to it does that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from deepseek_apps.backends.replies import check_status, default_model, error_in_stream, read_json
from deepseek_apps.errors import DeepSeekAppsError, UnreachableError, from_openai_error
from deepseek_apps.event_stream import read_events
from deepseek_apps.settings import load_settings

if TYPE_CHECKING:
    import httpx2

    from deepseek_apps.backend_client import BackendClient

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
        route: Who answered in full, and after whom; empty if only one could be asked.
        finish_reason: stop, length, tool_calls or content_filter.
        usage: Token counts as the backend sent them.
        first_token_seconds: From sending the request to its first text; None before it.
        seconds: From sending the request to the latest event.
    """

    content: str = ""
    reasoning_content: str = ""
    model: str = ""
    backend: str = ""
    route: str = ""
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

    Leaving the context (or calling close) before the end cancels the generation. A request that fails
    before its first delta is sent again as often as the settings say, unless it runs on this machine.

    Args:
        client: Where to ask; see `deepseek_apps.http_client`.
        question: What to ask.

    Raises:
        DeepSeekAppsError: While iterating: the request failed, or the stream broke off.
    """

    def __init__(self, client: BackendClient, question: Question) -> None:
        self.answer = Answer(backend=client.backend.name, model=question.model or "")
        self._client = client
        self._question = question
        self._started = 0.0
        self._response: httpx2.Response | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading; the backend cancels what is still running. Idempotent."""
        if self._response is not None:
            self._response.close()

    def __iter__(self) -> Iterator[TextDelta]:
        self._started = time.perf_counter()
        for delay in (*self._retry_delays(), None):
            try:
                yield from self._attempt()
            except DeepSeekAppsError as error:
                if delay is None or not error.retryable or self.answer.first_token_seconds is not None:
                    raise
                time.sleep(delay)
            else:
                return

    def _retry_delays(self) -> list[float]:
        # A local failure is not a lost packet: asking again would only generate twice.
        count = 0 if self._client.backend.name == "local" else load_settings().max_retries
        return [0.5 * 2**attempt * (1 + random.random() / 4) for attempt in range(count)]  # noqa: S311

    def _attempt(self) -> Iterator[TextDelta]:
        import httpx2  # noqa: PLC0415  the client has loaded it

        try:
            # A server may have to be asked for its default.
            self.answer.model = self._question.model or default_model(self._client)
            self._response = self._send()
            yield from self._streamed() if self._question.stream else self._whole()
        except httpx2.HTTPError as error:
            raise from_openai_error(error) from error
        finally:
            self.close()

    def _send(self) -> httpx2.Response:
        body = {
            "model": self._client.backend.model_name(self.answer.model),
            "messages": self._question.messages,
            "stream": self._question.stream,
            **({"stream_options": {"include_usage": True}} if self._question.stream else {}),
            **self._question.parameters(),
        }
        response = self._client.send(
            self._client.build_request("POST", "chat/completions", json=body), stream=True
        )
        check_status(response)
        self.answer.backend = response.headers.get("x-deepseek-apps-backend", self.answer.backend)
        self.answer.route = response.headers.get("x-deepseek-apps-route", "")
        return response

    def _whole(self) -> Iterator[TextDelta]:
        assert self._response is not None
        self._response.read()
        self._note(read_json(self._response))
        yield from self._choices(read_json(self._response), "message")

    def _streamed(self) -> Iterator[TextDelta]:
        assert self._response is not None
        for event in read_events(self._response.iter_lines()):
            if "error" in event:
                raise error_in_stream(event)
            self._note(event)
            yield from self._choices(event, "delta")
        if self.answer.finish_reason is None:
            raise UnreachableError(
                "the answer broke off: the stream ended without a finish_reason",
                help_message="Ask again; what arrived is above.",
            )

    def _note(self, event: Mapping[str, Any]) -> None:
        self.answer.model = event.get("model") or self.answer.model
        self.answer.usage = event.get("usage") or self.answer.usage

    def _choices(self, event: Mapping[str, Any], part: str) -> Iterator[TextDelta]:
        for choice in (event.get("choices") or [])[:1]:
            yield from self._take(choice.get(part) or {})
            self.answer.finish_reason = choice.get("finish_reason") or self.answer.finish_reason

    def _take(self, part: Mapping[str, Any]) -> Iterator[TextDelta]:
        self.answer.seconds = time.perf_counter() - self._started
        # DeepSeek and most servers say reasoning_content, vLLM says reasoning.
        if reasoning := part.get("reasoning_content") or part.get("reasoning"):
            text = _valid_text(reasoning)
            self._note_first_token()
            self.answer.reasoning_content += text
            yield TextDelta("reasoning", text)
        if content := part.get("content"):
            text = _valid_text(content)
            self._note_first_token()
            self.answer.content += text
            yield TextDelta("content", text)

    def _note_first_token(self) -> None:
        if self.answer.first_token_seconds is None:
            self.answer.first_token_seconds = self.answer.seconds


def _valid_text(text: str) -> str:
    """Replace lone surrogates, which JSON can carry and neither a terminal nor SQLite can take."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
