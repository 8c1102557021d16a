"""A schema for the answer, for an API that takes none: JSON mode, and the schema in the prompt.

Beside tools the API refuses JSON mode too ("response_format should not be used with tools"): the prompt has
to do.

Pure. That the answer fits is checked by whoever asked; see structured.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["schema_in_prompt", "wants_schema"]

FOLLOW = "Answer with one JSON object that follows this JSON Schema, and with nothing else:\n{schema}"
FOLLOW_BESIDE_TOOLS = (
    "When you do not call a tool, answer with one JSON object that follows this JSON Schema, and with "
    "nothing else:\n{schema}"
)


def wants_schema(body: Mapping[str, Any]) -> bool:
    """Whether a request asks for an answer in the form of a schema."""
    wanted = body.get("response_format")
    return isinstance(wanted, Mapping) and wanted.get("type") == "json_schema"


def schema_in_prompt(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with the schema in the prompt; one that asks for none is returned as it is.

    The text goes to the end of the system part. The API caches prompts from the first token on, and JSON
    mode itself adds a sentence at that place: instructions before it stay cached, and so does the
    conversation from one call with the schema to the next. It is joined to the last system message, because
    many templates take only one.
    """
    if not wants_schema(body):
        return dict(body)
    described = body["response_format"].get("json_schema")
    schema = described.get("schema", {}) if isinstance(described, Mapping) else {}
    text = FOLLOW_BESIDE_TOOLS if body.get("tools") else FOLLOW
    messages = _with_system(body.get("messages"), text.format(schema=json.dumps(schema, ensure_ascii=False)))
    rest = {name: value for name, value in body.items() if name != "response_format"}
    mode = {} if body.get("tools") else {"response_format": {"type": "json_object"}}
    return {**rest, "messages": messages, **mode}


def _with_system(messages: Any, text: str) -> Any:
    if not isinstance(messages, list):
        return messages  # the API says what is wrong with it
    count = next((i for i, message in enumerate(messages) if not _is_system(message)), len(messages))
    if count == 0:
        return [{"role": "system", "content": text}, *messages]
    last = messages[count - 1]
    content = last.get("content")
    part = {"type": "text", "text": text}
    joined = [*content, part] if isinstance(content, list) else f"{content}\n\n{text}"
    return [*messages[: count - 1], {**last, "content": joined}, *messages[count:]]


def _is_system(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "system"
