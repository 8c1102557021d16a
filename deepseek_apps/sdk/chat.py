"""`client.chat`: the SDK's resource, which here also knows the fields that only DeepSeek has.

`thinking` and `user_id` are keyword arguments beside the SDK's own, and `model` has a default. Requests and
replies are the SDK's in everything else: `parse` sends a json_schema, which the hosted backend, whose API has
none, puts into the prompt, and checks the answer.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast, overload

from openai import AsyncStream, Omit, Stream, omit
from openai.resources.chat import AsyncChat, AsyncCompletions, Chat, Completions
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ParsedChatCompletion

from deepseek_apps.sdk.fields import ChatFields, dialect_fields

if TYPE_CHECKING:
    from openai.lib.streaming.chat import AsyncChatCompletionStreamManager, ChatCompletionStreamManager
    from openai.types.chat.completion_create_params import ResponseFormat

    from deepseek_apps.sdk.extras import AsyncExtras, SyncExtras

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
        complete = self._complete(cast("dict[str, Any]", fields))
        return super().parse(response_format=response_format, **complete)

    def stream(  # type: ignore[override]  # as above
        self, *, response_format: ResponseFormat | type[ParsedT] | Omit = omit, **fields: Unpack[ChatFields]
    ) -> ChatCompletionStreamManager[ParsedT]:
        """Answer as events, for `with client.chat.completions.stream(…) as events`; parses as `parse`."""
        complete = self._complete(cast("dict[str, Any]", fields))
        return super().stream(response_format=response_format, **complete)

    def _complete(self, fields: dict[str, Any]) -> dict[str, Any]:
        if "model" not in fields:
            fields = {**fields, "model": self._client.default_model}
        return dialect_fields(fields)


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
        complete = await self._complete(cast("dict[str, Any]", fields))
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
        return super().stream(response_format=response_format, **dialect_fields(given))

    async def _complete(self, fields: dict[str, Any]) -> dict[str, Any]:
        if "model" not in fields:
            fields = {**fields, "model": await self._client.resolve_model()}
        return dialect_fields(fields)


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
