"""A chat request from bytes to a recipe conversation, with the hosted API's error texts.

Validation proper is deepseek-recipe's; here is what the hosted gateway adds around it, and what a local
model that cannot think or see must say. Nothing here touches an engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deepseek_recipe import (
    ChatCompletionRequest,
    ConversationRequest,
    ConversionError,
    ConversionOptions,
    ModelVersion,
    ReasoningContentBehavior,
)

from local_backend.sampling_params import SamplingDefaults
from local_backend.server.messages import Response
from local_backend.server.replies import JSON, HttpError, invalid_request, plain_text

__all__ = [
    "convert_chat",
    "parse_json",
    "refuse_images",
    "top_k",
    "user_id",
    "validate_chat",
    "with_sampling_defaults",
]

_MAX_USER_ID_BYTES = 512
_SYNTAX = "invalid JSON request: "
_SHAPE = "invalid request body: "
_DESERIALIZE = "Failed to deserialize the JSON body into the target type: "


def parse_json(body: bytes) -> dict[str, Any]:
    """Decode a request body, chat or not.

    Raises:
        HttpError: It is not a JSON object; the text is the hosted parser's.
    """
    try:
        ChatCompletionRequest(body)
    except ValueError as error:
        if str(error).startswith(_SYNTAX):
            text = f"Failed to parse the request body as JSON: {str(error).removeprefix(_SYNTAX)}"
            raise plain_text(400, text) from None
    data = json.loads(body)
    if not isinstance(data, dict):
        raise _shape_error(data, body)
    return data


def validate_chat(data: dict[str, Any], body: bytes) -> None:
    """Check the types of every chat field.

    Raises:
        HttpError: A field is missing or mistyped; the text names its place.
    """
    error = _shape_fault(data)
    if error is not None:
        raise _shape_error(data, body)


def convert_chat(
    data: dict[str, Any], *, thinking: bool, strict_reasoning: bool = False
) -> ConversationRequest:
    """Turn a validated body into a recipe request.

    Args:
        data: The decoded body, `model` included.
        thinking: Whether the model can think. If not, `thinking` and `reasoning_effort` do nothing: the
            same program runs on a model without thinking, and its replies simply have no
            `reasoning_content`.
        strict_reasoning: Refuse a tool turn without `reasoning_content` in thinking mode, as the hosted
            API is documented to do, instead of filling in an empty one.

    Raises:
        HttpError: A value is out of range or the messages contradict each other.
    """
    known = {str(data["model"]): ModelVersion.DeepseekV4Pro}
    behaviour = ReasoningContentBehavior.Reject if strict_reasoning else ReasoningContentBehavior.FillEmpty
    options = ConversionOptions(
        default_thinking_mode=thinking, reasoning_content_behavior=behaviour
    ).with_model_versions_by_name(known)
    adapted = _adapted(data, thinking=thinking)
    try:
        return ChatCompletionRequest(json.dumps(adapted)).convert(options)
    except ConversionError as error:
        raise HttpError(Response.of(error.status_code, error.body.encode(), JSON)) from None
    except ValueError:  # a courtesy field that was not checked, such as max_completion_tokens
        raise _shape_error(adapted, b"") from None


def refuse_images(data: dict[str, Any], model: str) -> None:
    """Refuse images and files: a text model must not silently answer without them.

    Raises:
        HttpError: Some message carries one.
    """
    for index, message in enumerate(data["messages"]):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") in ("image_url", "file"):
                raise invalid_request(
                    f"messages[{index}]: {part['type']} input is not supported by {model}, "
                    "which reads text only."
                )


def with_sampling_defaults(data: dict[str, Any], defaults: SamplingDefaults) -> dict[str, Any]:
    """Fill in what the request leaves open with what the model's publisher recommends."""
    recommended = {"temperature": defaults.temperature, "top_p": defaults.top_p, "top_k": defaults.top_k}
    return data | {name: value for name, value in recommended.items() if data.get(name) is None}


def user_id(data: dict[str, Any]) -> str:
    """Return the `user_id` that keeps prefix caches apart; "" when there is none.

    Raises:
        HttpError: It is not a string, or longer than 512 bytes.
    """
    value = data.get("user_id")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid_request(f"{_DESERIALIZE}user_id: invalid type, expected a string")
    length = len(value.encode())
    if length > _MAX_USER_ID_BYTES:
        raise invalid_request(
            f"Invalid 'user_id': string too long. Expected a string with maximum length "
            f"{_MAX_USER_ID_BYTES}, but got a string with length {length} instead"
        )
    return value


def top_k(data: dict[str, Any]) -> int:
    """Return the extension field `top_k`; 0 (keep all) when there is none.

    Raises:
        HttpError: It is not a whole number of 0 or more.
    """
    value = data.get("top_k")
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid_request("Invalid top_k value, top_k must be an integer of 0 or more")
    return value


def _adapted(data: dict[str, Any], *, thinking: bool) -> dict[str, Any]:
    """Apply the courtesies the recipe does not know: `max_completion_tokens`, and no thinking."""
    adapted = dict(data)
    if adapted.get("max_tokens") is None and adapted.get("max_completion_tokens") is not None:
        adapted["max_tokens"] = adapted["max_completion_tokens"]
    if not thinking:
        adapted["thinking"] = {"type": "disabled"}
    return adapted


def _shape_fault(data: Any) -> str | None:
    """Return the recipe's complaint about a body's types, or None."""
    try:
        ChatCompletionRequest(json.dumps(data))
    except ValueError as error:
        return str(error).removeprefix(_SHAPE)
    return None


def _shape_error(data: Any, body: bytes) -> HttpError:
    fault = _shape_fault(data) or "expected a JSON object"
    place = next((place for place, probe in _places(data) if _shape_fault(probe) == fault), "")
    where = "" if place else _end_of(body)
    return invalid_request(f"{_DESERIALIZE}{place}{fault}{where}")


def _places(data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each part of the body alone, with the path the hosted parser would print before the fault."""
    if not isinstance(data, dict):
        return
    minimal: dict[str, Any] = {"model": "", "messages": []}
    for field, value in data.items():
        if isinstance(value, list):
            yield from ((f"{field}[{i}]: ", minimal | {field: [item]}) for i, item in enumerate(value))
        yield f"{field}: ", minimal | {field: value}


def _end_of(body: bytes) -> str:
    """Place a fault of the whole document, such as a missing field, where the parser finds it: at the end."""
    lines = body.rstrip().split(b"\n")
    return f" at line {len(lines)} column {len(lines[-1])}"
