"""`client.chat`: the SDK's resource, which here also knows the fields that only DeepSeek has.

`thinking` and `user_id` are keyword arguments beside the SDK's own, and `model` has a default. A pydantic
class as `response_format` works on the hosted API too, which has no json_schema: it is asked for JSON that
fits the schema, and the SDK checks the answer. Requests and replies are the SDK's in everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast, overload

from openai import AsyncStream, Omit, Stream, omit
from openai.resources.chat import AsyncChat, AsyncCompletions, Chat, Completions
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ParsedChatCompletion

from deepseek_apps._sdk_fields import ChatFields, dialect_fields, with_schema_in_prompt
from deepseek_apps.backends import Backend
from deepseek_apps.routing.routed import targets_of

if TYPE_CHECKING:
    from openai.lib.streaming.chat import AsyncChatCompletionStreamManager, ChatCompletionStreamManager
    from openai.types.chat.completion_create_params import ResponseFormat

    from deepseek_apps._client_extras import AsyncExtras, SyncExtras

__all__ = ["AsyncDeepSeekChat", "AsyncDeepSeekCompletions", "DeepSeekChat", "DeepSeekCompletions"]

ParsedT = TypeVar("ParsedT")


class DeepSeekCompletions(Completions):
    """`client.chat.completions`; type checkers are told of DeepSeek's fields, and any other is passed on."""

    _client: SyncExtras

    @overload  # type: ignore[override]  # DeepSeek's fields and not all of OpenAI's
    def create(
        self,
        *,
        stream: Literal[False] | Omit | None = omit,
        response_format: ResponseFormat | Omit = omit,
        **fields: Unpack[ChatFields],
    ) -> ChatCompletion: ...
    @overload
    def create(
        self,
        *,
        stream: Literal[True],
        response_format: ResponseFormat | Omit = omit,
        **fields: Unpack[ChatFields],
    ) -> Stream[ChatCompletionChunk]: ...
    @overload
    def create(
        self, *, stream: bool, response_format: ResponseFormat | Omit = omit, **fields: Unpack[ChatFields]
    ) -> ChatCompletion | Stream[ChatCompletionChunk]: ...
    def create(self, **fields: Any) -> ChatCompletion | Stream[ChatCompletionChunk]:
        """Answer a conversation.

        Args:
            fields: See `ChatFields`; `model` defaults to the client's, `stream=True` gives the chunks.

        Raises:
            openai.OpenAIError: The backend refused, failed or could not be reached.
            SettingsError: `thinking` is not understood, or the model name is retired.
        """
        return cast("ChatCompletion | Stream[ChatCompletionChunk]", super().create(**self._complete(fields)))

    def parse(  # type: ignore[override]  # as above
        self, *, response_format: type[ParsedT] | Omit = omit, **fields: Unpack[ChatFields]
    ) -> ParsedChatCompletion[ParsedT]:
        """Answer with an instance of a pydantic class or dataclass, in `choices[0].message.parsed`.

        Raises:
            pydantic.ValidationError: The answer does not fit the class.
            openai.LengthFinishReasonError: The answer was cut at `max_tokens`.
            openai.OpenAIError: As in `create`.
        """
        complete = self._complete(cast("dict[str, Any]", fields), response_format)
        return super().parse(response_format=response_format, **complete)

    def stream(  # type: ignore[override]  # as above
        self, *, response_format: ResponseFormat | type[ParsedT] | Omit = omit, **fields: Unpack[ChatFields]
    ) -> ChatCompletionStreamManager[ParsedT]:
        """Answer as events, for `with client.chat.completions.stream(…) as events`; parses as `parse`."""
        complete = self._complete(cast("dict[str, Any]", fields), response_format)
        return super().stream(response_format=response_format, **complete)

    def _complete(self, fields: dict[str, Any], response_format: object = omit) -> dict[str, Any]:
        if "model" not in fields:
            fields = {**fields, "model": self._client.default_model}
        return _for_backend(dialect_fields(fields), response_format, self._client._backend)


class AsyncDeepSeekCompletions(AsyncCompletions):
    """The asynchronous twin of DeepSeekCompletions."""

    _client: AsyncExtras

    @overload  # type: ignore[override]  # DeepSeek's fields and not all of OpenAI's
    async def create(
        self,
        *,
        stream: Literal[False] | Omit | None = omit,
        response_format: ResponseFormat | Omit = omit,
        **fields: Unpack[ChatFields],
    ) -> ChatCompletion: ...
    @overload
    async def create(
        self,
        *,
        stream: Literal[True],
        response_format: ResponseFormat | Omit = omit,
        **fields: Unpack[ChatFields],
    ) -> AsyncStream[ChatCompletionChunk]: ...
    @overload
    async def create(
        self, *, stream: bool, response_format: ResponseFormat | Omit = omit, **fields: Unpack[ChatFields]
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]: ...
    async def create(self, **fields: Any) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
        """Answer a conversation; see `DeepSeekCompletions.create`."""
        answer = await super().create(**await self._complete(fields))
        return cast("ChatCompletion | AsyncStream[ChatCompletionChunk]", answer)

    async def parse(  # type: ignore[override]  # as above
        self, *, response_format: type[ParsedT] | Omit = omit, **fields: Unpack[ChatFields]
    ) -> ParsedChatCompletion[ParsedT]:
        """Answer with an instance of a pydantic class or dataclass; see `DeepSeekCompletions.parse`."""
        complete = await self._complete(cast("dict[str, Any]", fields), response_format)
        return await super().parse(response_format=response_format, **complete)

    def stream(  # type: ignore[override]  # as above
        self, *, response_format: ResponseFormat | type[ParsedT] | Omit = omit, **fields: Unpack[ChatFields]
    ) -> AsyncChatCompletionStreamManager[ParsedT]:
        """Answer as events, for `async with`; see `DeepSeekCompletions.stream`.

        Raises:
            SettingsError: No model is named, and only the server knows which it serves.
        """
        given = cast("dict[str, Any]", fields)
        if "model" not in given:
            given = {**given, "model": self._client.default_model}
        complete = _for_backend(dialect_fields(given), response_format, self._client._backend)
        return super().stream(response_format=response_format, **complete)

    async def _complete(self, fields: dict[str, Any], response_format: object = omit) -> dict[str, Any]:
        if "model" not in fields:
            fields = {**fields, "model": await self._client.resolve_model()}
        return _for_backend(dialect_fields(fields), response_format, self._client._backend)


class DeepSeekChat(Chat):
    """`client.chat`."""

    _client: SyncExtras

    @cached_property
    def completions(self) -> DeepSeekCompletions:
        """Answers to conversations."""
        return DeepSeekCompletions(self._client)


class AsyncDeepSeekChat(AsyncChat):
    """`client.chat`, asynchronously."""

    _client: AsyncExtras

    @cached_property
    def completions(self) -> AsyncDeepSeekCompletions:
        """Answers to conversations."""
        return AsyncDeepSeekCompletions(self._client)


def _for_backend(fields: dict[str, Any], response_format: object, backend: Backend) -> dict[str, Any]:
    """Put a class's schema into the prompt where the hosted API may answer: it has no other place for it."""
    # Elsewhere the SDK's own json_schema is sent: this machine and most servers are bound by it.
    hosted = any(target.kind == "hosted" for target in targets_of(backend))
    if not hosted or isinstance(response_format, dict | Omit):
        return fields
    messages: Iterable[Any] = fields.get("messages", ())
    extra_body = {**(fields.get("extra_body") or {}), "response_format": {"type": "json_object"}}
    return fields | {
        "messages": with_schema_in_prompt(messages, cast("type", response_format)),
        "extra_body": extra_body,
    }
