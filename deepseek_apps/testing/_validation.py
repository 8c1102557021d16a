"""From a request's bytes to a recipe conversation, with the hosted API's error texts.

The checks are deepseek-recipe's, whose texts are the API's own. Added is what the gateway says around them
and what it refuses that the recipe takes.
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
    ReasoningContentBehavior,
)

from deepseek_apps.testing._options import FakeOptions
from deepseek_apps.testing.failures import HttpError, invalid_request, plain_error
from deepseek_apps.testing.replies import RawReply
from deepseek_apps.testing.requests import Request

__all__ = ["beta_only", "convert_chat", "deserialize_error", "parse_body", "user_id"]

_SYNTAX = "invalid JSON request: "
_SHAPE = "invalid request body: "
_DESERIALIZE = "Failed to deserialize the JSON body into the target type: "
_MAX_USER_ID_BYTES = 512


def parse_body(body: bytes) -> dict[str, Any]:
    """Decode a JSON body, chat or not.

    Raises:
        HttpError: It is no JSON (plain text, as the gateway answers) or no object.
    """
    fault = _fault(body)
    if fault is not None and fault.startswith(_SYNTAX):
        text = f"Failed to parse the request body as JSON: {fault.removeprefix(_SYNTAX)}"
        raise HttpError(plain_error(400, text))
    data = json.loads(body)
    if not isinstance(data, dict):
        raise deserialize_error(fault or "expected a JSON object", body)
    return data


def convert_chat(request: Request, data: dict[str, Any], options: FakeOptions) -> ConversationRequest:
    """Check a chat request and turn it into a conversation.

    Raises:
        HttpError: The API would answer a 400.
    """
    fault = _fault(request.raw)
    if fault is not None:
        raise deserialize_error(_placed(data, fault.removeprefix(_SHAPE)), request.raw)
    _check_what_the_recipe_takes(request, data)
    served = options.served
    model = options.canonical(data["model"])
    reject = options.reasoning_policy == "reject"
    behaviour = ReasoningContentBehavior.Reject if reject else ReasoningContentBehavior.FillEmpty
    conversion = ConversionOptions(reasoning_content_behavior=behaviour).with_model_versions_by_name(
        dict(served) if model is None else {data["model"]: served[model]}
    )
    return converted(request.raw, conversion)


def converted(body: bytes | str, conversion: ConversionOptions) -> ConversationRequest:
    """Let the recipe convert a body whose shape is right.

    Raises:
        HttpError: The recipe refuses it.
    """
    try:
        return ChatCompletionRequest(body).convert(conversion)
    except ConversionError as error:
        raise HttpError(RawReply(parts=(error.body.encode(),), status=error.status_code)) from None


def user_id(data: dict[str, Any]) -> str:
    """Return the `user_id`, "" when there is none.

    Raises:
        HttpError: It is no string, or longer than 512 bytes.
    """
    value = data.get("user_id")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid_request(f"{_DESERIALIZE}user_id: invalid type, expected a string")
    length = len(value.encode())
    if length > _MAX_USER_ID_BYTES:
        raise invalid_request(
            "Invalid 'user_id': string too long. Expected a string with maximum length "
            f"{_MAX_USER_ID_BYTES}, but got a string with length {length} instead"
        )
    return value


def beta_only(feature: str) -> HttpError:
    """Build the 400 for what only the beta base serves."""
    return invalid_request(
        f'{feature} is only available when using beta api (set base_url="https://api.deepseek.com/beta")'
    )


def deserialize_error(fault: str, body: bytes) -> HttpError:
    """Build the 400 for a body of the wrong shape; the place given is the end of the document."""
    lines = body.rstrip().split(b"\n")
    return invalid_request(f"{_DESERIALIZE}{fault} at line {len(lines)} column {len(lines[-1])}")


def _check_what_the_recipe_takes(request: Request, data: dict[str, Any]) -> None:
    if (data.get("response_format") or {}).get("type") not in (None, "text", "json_object"):
        raise invalid_request("This response_format type is unavailable now")
    if request.base != "/beta" and any(message.get("prefix") for message in data["messages"]):
        raise beta_only("prefix")


def _fault(body: bytes | str) -> str | None:
    try:
        ChatCompletionRequest(body)
    except ValueError as error:
        return str(error)
    return None


def _placed(data: dict[str, Any], fault: str) -> str:
    """Put the path of the field before its fault, as the gateway's parser does."""
    for place, probe in _places(data):
        if (_fault(json.dumps(probe)) or "").removeprefix(_SHAPE) == fault:
            return f"{place}: {fault}"
    return fault


def _places(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    minimal: dict[str, Any] = {"model": "", "messages": []}
    for field, value in data.items():
        if isinstance(value, list):
            yield from ((f"{field}[{i}]", minimal | {field: [item]}) for i, item in enumerate(value))
        yield field, minimal | {field: value}
