"""POST /completions: fill in the middle, the hosted API's beta route, in the classic completion shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deepseek_recipe import ConversationRequest

from local_backend.errors import UnsupportedModelError
from local_backend.sampling_params import SamplingParams
from local_backend.server.answer import Answer
from local_backend.server.chat_request import convert_chat, parse_json, top_k, user_id
from local_backend.server.fim_turn import FimTurn
from local_backend.server.messages import Response
from local_backend.server.model_pool import ModelPool
from local_backend.server.replies import invalid_request
from local_backend.server.reply_head import context_overflow, new_head

__all__ = ["answer_fim"]

_MAX_TOKENS = 4096
_MAX_LOGPROBS = 20
# Sampling fields that mean the same as in chat; their checks and texts are the chat ones.
_SHARED = (
    "temperature", "top_p", "presence_penalty", "frequency_penalty",
    "stop", "stream", "stream_options", "n", "seed",
)  # fmt: skip


def answer_fim(body: bytes, models: ModelPool, fail: Callable[[Exception], Response]) -> Response:
    """Start a completion; the generation runs while the body is read.

    Args:
        body: The request's body.
        models: Finds the model the request names.
        fail: Logs an error of the running generation and gives the reply for it.

    Raises:
        HttpError: The request is refused.
        LocalBackendError: The model cannot be loaded, has no such format, or the engine refuses.
    """
    data = parse_json(body)
    prefix = _text(data, "prompt", required=True)
    suffix = _text(data, "suffix")
    name = models.resolve(_text(data, "model", required=True))
    max_tokens = _whole_number(data, "max_tokens", 1, _MAX_TOKENS)
    logprobs = _whole_number(data, "logprobs", 0, _MAX_LOGPROBS)
    echo = _flag(data, "echo")
    request = _shared_fields(data)
    cache_salt = user_id(data)
    keep_most_likely = top_k(data)
    engine = models.get(name).engine
    try:
        prompt = engine.family.fim(prefix, suffix)
    except UnsupportedModelError as error:  # the model is sound; it is this route that it cannot serve
        raise invalid_request(f"{error}. {error.help_message}") from None
    room = engine.max_model_len - len(prompt)
    if room < (max_tokens or 1):
        raise context_overflow(engine.max_model_len, len(prompt), max_tokens or 1)
    options = request.inference_options
    params = SamplingParams(
        temperature=1.0 if options.temperature is None else options.temperature,
        top_p=1.0 if options.top_p is None else options.top_p,
        top_k=keep_most_likely,
        max_tokens=max_tokens or min(_MAX_TOKENS, room),
        stop_token_ids=frozenset(engine.family.stop_token_ids),
        seed=options.seed,
        logprobs=logprobs,
    )
    turn = FimTurn(
        engine.tokenizer,
        new_head(engine.model_id, len(prompt)),
        stop=request.parsing_options.stop_sequences,
        echo=prefix if echo else "",
        include_usage=bool((data.get("stream_options") or {}).get("include_usage")),
    )
    generation = models.submit(name, prompt, params, cache_salt=cache_salt)
    return Answer(generation, turn, fail).response(stream=request.stream)


def _shared_fields(data: dict[str, Any]) -> ConversationRequest:
    """Check the sampling fields by asking the chat validator about a chat that says nothing."""
    stub = {"model": data["model"], "messages": [{"role": "user", "content": ""}]}
    stub |= {field: data[field] for field in _SHARED if field in data}
    return convert_chat(stub, thinking=False)


def _text(data: dict[str, Any], field: str, *, required: bool = False) -> str:
    value = data.get(field)
    if isinstance(value, str):
        return value
    if value is None and not required:
        return ""
    fault = f"missing field `{field}`" if value is None else f"{field}: invalid type, expected a string"
    raise invalid_request(f"Failed to deserialize the JSON body into the target type: {fault}")


def _flag(data: dict[str, Any], field: str) -> bool:
    value = data.get(field)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise invalid_request(
        f"Failed to deserialize the JSON body into the target type: {field}: invalid type, expected a boolean"
    )


def _whole_number(data: dict[str, Any], field: str, low: int, high: int) -> int | None:
    value = data.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise invalid_request(f"Invalid {field} value, the valid range of {field} is [{low}, {high}]")
    return value
