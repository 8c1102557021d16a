"""What DeepSeek's requests have and the SDK's signatures lack: fields, their types, where they go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from openai import NotGiven, Omit

if TYPE_CHECKING:
    import httpx2
    from openai.types.chat import (
        ChatCompletionMessageParam,
        ChatCompletionStreamOptionsParam,
        ChatCompletionToolChoiceOptionParam,
        ChatCompletionToolUnionParam,
    )

    from deepseek_apps.thinking import ReasoningEffort, ThinkingOption

__all__ = ["ChatFields", "FimFields", "dialect_fields"]

# Sent at the top level of the body, where the SDK's signatures have no room for them.
EXTRA_FIELDS = ("thinking", "user_id")


class _CommonFields(TypedDict, total=False):
    model: str
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: str | Sequence[str] | None
    stream_options: ChatCompletionStreamOptionsParam | None
    presence_penalty: float | None
    frequency_penalty: float | None
    seed: int | None
    user_id: str | None
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, object] | None
    extra_body: Mapping[str, object] | None
    timeout: float | httpx2.Timeout | None


class ChatFields(_CommonFields, total=False):
    """The documented fields of a chat request, and the SDK's options of one call.

    Attributes:
        messages: The conversation.
        model: Default: the client's `default_model`.
        thinking: True, False, or `{"type": "enabled"}`; the hosted API thinks unless told otherwise.
        reasoning_effort: From none to ultra.
        user_id: Keeps one user's cache and limits apart from another's; at most 512 bytes.
        extra_body: Further members of the body; they win over those given by name.
    """

    messages: Iterable[ChatCompletionMessageParam]
    thinking: ThinkingOption | None
    reasoning_effort: ReasoningEffort | None
    tools: Iterable[ChatCompletionToolUnionParam]
    tool_choice: ChatCompletionToolChoiceOptionParam
    parallel_tool_calls: bool
    logprobs: bool | None
    top_logprobs: int | None
    n: int | None


class FimFields(_CommonFields, total=False):
    """The documented fields of a completion in the middle, and the SDK's options of one call.

    Attributes:
        max_tokens: At most 4096 on the hosted API and on this machine.
        logprobs: How many likely tokens to report per place, 0 to 20, in the classic form.
        echo: Whether the text before the hole is returned too.
    """

    logprobs: int | None
    echo: bool | None


def dialect_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments for the SDK's method: what it does not know goes into `extra_body`.

    Raises:
        SettingsError: `thinking` is not understood.
    """
    from deepseek_apps.thinking import thinking_field  # noqa: PLC0415  it is above the clients

    given = {name: fields[name] for name in EXTRA_FIELDS if name in fields}
    rest = {name: value for name, value in fields.items() if name not in given}
    moved = {
        name: thinking_field(value) if name == "thinking" else value
        for name, value in given.items()
        if value is not None and not isinstance(value, Omit | NotGiven)
    }
    if moved:
        rest["extra_body"] = {**moved, **(rest.get("extra_body") or {})}
    return rest
