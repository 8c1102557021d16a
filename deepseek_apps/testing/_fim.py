"""POST /beta/completions: fill in the middle, in the classic completion shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deepseek_recipe import ConversationRequest, ConversionOptions, ModelVersion

from deepseek_apps.testing._options import FakeOptions
from deepseek_apps.testing._shapes import DONE, Head, dump, event
from deepseek_apps.testing._validation import beta_only, converted, deserialize_error
from deepseek_apps.testing.failures import invalid_request
from deepseek_apps.testing.requests import Request

__all__ = ["FimAsked", "FimShape", "check_fim"]

_MAX_TOKENS = 4096
_MAX_LOGPROBS = 20
# Fields that mean the same as in chat; the chat's checks and texts apply.
_SHARED = (
    "temperature", "top_p", "presence_penalty", "frequency_penalty",
    "stop", "stream", "stream_options", "n", "seed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FimAsked:
    """A checked request."""

    prompt: str
    suffix: str
    max_tokens: int
    echo: bool
    logprobs: int | None
    include_usage: bool
    shared: ConversationRequest


def check_fim(request: Request, data: dict[str, Any], options: FakeOptions) -> FimAsked:
    """Check a completion request.

    Raises:
        HttpError: The API would answer a 400.
    """
    if request.base != "/beta":
        raise beta_only("completions api")
    prompt = _text(request, data, "prompt", required=True)
    suffix = _text(request, data, "suffix")
    echo = data.get("echo")
    if not isinstance(echo, bool | None):
        raise deserialize_error("echo: invalid type, expected a boolean", request.raw)
    return FimAsked(
        prompt=prompt,
        suffix=suffix,
        max_tokens=_whole_number(data, "max_tokens", 1, _MAX_TOKENS) or _MAX_TOKENS,
        echo=bool(echo),
        logprobs=_whole_number(data, "logprobs", 0, _MAX_LOGPROBS),
        include_usage=bool((data.get("stream_options") or {}).get("include_usage")),
        shared=_shared(_text(request, data, "model", required=True), data, options),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FimShape:
    """Renders one completion."""

    head: Head
    asked: FimAsked
    pieces: tuple[str, ...]
    finish_reason: str
    usage: Mapping[str, Any]

    def events(self) -> Iterator[bytes]:
        """Give the stream, event by event, "[DONE]" included."""
        offset = 0
        for piece in self._texts():
            yield self._event(piece, self._logprobs((piece,), offset))
            offset += len(piece)
        yield self._event("", None, finish_reason=self.finish_reason, usage=self.usage)
        yield DONE

    def whole(self) -> bytes:
        """Return the reply of a request that does not stream."""
        texts = self._texts()
        choice = {
            "index": 0,
            "text": "".join(texts),
            "logprobs": self._logprobs(texts, 0),
            "finish_reason": self.finish_reason,
        }
        return dump(self.head.whole("text_completion", [choice], self.usage))

    def _texts(self) -> tuple[str, ...]:
        return (self.asked.prompt, *self.pieces) if self.asked.echo else self.pieces

    def _event(self, text: str, logprobs: Any, *, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
        unused = {"usage": None} if self.asked.include_usage else {}
        return event(self.head.chunk("text_completion", [choice], **(unused | more)))

    def _logprobs(self, texts: tuple[str, ...], offset: int) -> dict[str, Any] | None:
        if self.asked.logprobs is None:
            return None
        offsets = [offset + sum(map(len, texts[:index])) for index in range(len(texts))]
        top = [{text: 0.0} if self.asked.logprobs else {} for text in texts]
        numbers = [0.0] * len(texts)
        return {
            "tokens": list(texts),
            "token_logprobs": numbers,
            "top_logprobs": top,
            "text_offset": offsets,
        }


def _shared(name: str, data: dict[str, Any], options: FakeOptions) -> ConversationRequest:
    """Check name and sampling fields by asking the recipe about a chat that says nothing."""
    stub = {"model": name, "messages": [{"role": "user", "content": ""}], "thinking": {"type": "disabled"}}
    stub |= {field: data[field] for field in _SHARED if field in data}
    model = options.canonical(name)
    names = dict(options.served) if model is None else {name: ModelVersion.DeepseekV4Pro}
    return converted(json.dumps(stub), ConversionOptions().with_model_versions_by_name(names))


def _text(request: Request, data: dict[str, Any], field: str, *, required: bool = False) -> str:
    value = data.get(field)
    if isinstance(value, str):
        return value
    if value is None and not required:
        return ""
    fault = f"missing field `{field}`" if value is None else f"{field}: invalid type, expected a string"
    raise deserialize_error(fault, request.raw)


def _whole_number(data: dict[str, Any], field: str, low: int, high: int) -> int | None:
    value = data.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise invalid_request(f"Invalid {field} value, the valid range of {field} is [{low}, {high}]")
    return value
