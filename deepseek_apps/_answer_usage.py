"""Finds in any answer what its price depends on: token counts, model and time. Pure.

An answer may be the SDK's, LangChain's, ours, or a dict of either form; what the counts are called is the
business of cost.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from deepseek_apps.errors import SettingsError

__all__ = ["AnswerUsage", "answer_usage"]

COUNTS = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class AnswerUsage:
    """What was found.

    Attributes:
        usage: The token counts under their own names.
        model: Who answered; None if the answer does not say.
        at: When it was made; None if the answer does not say.
    """

    usage: Mapping[str, Any]
    model: str | None = None
    at: datetime | None = None


def answer_usage(answer: object) -> AnswerUsage:
    """Return the usage in a usage object, a usage dict, a whole answer, or the last chunk of a stream.

    Raises:
        SettingsError: There is none.
    """
    fields = _fields(answer)
    if any(name in fields for name in COUNTS):
        return AnswerUsage(fields)
    usage = _fields(fields.get("usage") or fields.get("usage_metadata"))
    if not any(name in usage for name in COUNTS):
        raise SettingsError(
            f"there are no token counts in {str(answer)[:200]!r}",
            help_message="Pass an answer or its usage; a stream has it in its last chunk, some servers only "
            'with stream_options={"include_usage": True}.',
        )
    metadata = _fields(fields.get("response_metadata"))
    model = fields.get("model") or metadata.get("model_name") or metadata.get("model")
    return AnswerUsage(usage, str(model) if model else None, _moment(fields))


def _fields(value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, BaseModel):
        return value.model_dump()
    names = (*COUNTS, "usage", "model", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens")
    found = {name: getattr(value, name, None) for name in names}
    return {name: content for name, content in found.items() if content is not None}


def _moment(fields: Mapping[str, Any]) -> datetime | None:
    created = fields.get("created") or fields.get("created_at")
    return datetime.fromtimestamp(created, UTC) if isinstance(created, int | float) else None
