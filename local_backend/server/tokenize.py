"""POST /tokenize: token ids of a text or of a chat's prompt, in vLLM's form. Reads no weights."""

from __future__ import annotations

import json
from typing import Any

from local_backend.families.model_text import ModelText
from local_backend.server.chat_request import convert_chat, parse_json, refuse_images, validate_chat
from local_backend.server.messages import Response
from local_backend.server.model_pool import ModelPool
from local_backend.server.replies import JSON, invalid_request

__all__ = ["answer_tokenize"]


def answer_tokenize(body: bytes, models: ModelPool) -> Response:
    """Count the tokens of `prompt`, or of the prompt that `messages` make.

    Args:
        body: The request's body; without a model, the default one counts.
        models: Finds the model the request names.

    Raises:
        HttpError: The request is refused; a chat is checked as it would be before an answer.
        LocalBackendError: The model's tokenizer cannot be read.
    """
    data = parse_json(body)
    if data.get("model") is None:
        data["model"] = models.names[0]
    if "messages" in data:
        validate_chat(data, body)
    elif not isinstance(data.get("prompt"), str) or not isinstance(data["model"], str):
        raise invalid_request(
            "Invalid request: model must be a string, and prompt a string or messages a list"
        )
    name = models.resolve(data["model"])
    served = models.text(name)
    ids = (
        _chat_ids(data, name, served.text)
        if "messages" in data
        else served.text.tokenizer.encode_plain(data["prompt"])
    )
    answer = {"count": len(ids), "max_model_len": served.max_model_len, "tokens": ids}
    return Response.of(200, json.dumps(answer).encode(), JSON)


def _chat_ids(data: dict[str, Any], name: str, text: ModelText) -> list[int]:
    refuse_images(data, name)
    conversation = convert_chat(data, thinking=text.family.supports_thinking).conversation
    return text.family.render(conversation).token_ids
