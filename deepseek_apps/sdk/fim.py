"""`client.fim`: completion in the middle, with the text before a hole and the text after it.

Only `prompt` and `suffix` are sent. The hosted backend moves the request to its beta address, the embedded
engine renders its family's markers, and so does the server backend for servers that know no `suffix`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

from openai import AsyncStream, Omit, Stream, omit
from openai.resources import AsyncCompletions, Completions
from openai.types import Completion

from deepseek_apps.catalog import limit
from deepseek_apps.errors import OutputError, OverloadedError, SettingsError
from deepseek_apps.sdk.fields import FimFields, dialect_fields

if TYPE_CHECKING:
    from deepseek_apps.sdk.extras import AsyncExtras, SyncExtras

__all__ = ["AsyncFim", "Fim", "check_complete", "check_max_tokens", "completion_text"]

GIVEN_UP = "insufficient_system_resource"


class Fim:
    r"""Completes code or text in the middle: `client.fim("def add(a, b):\n    ", "\n")`."""

    def __init__(self, client: SyncExtras) -> None:
        self._client = client

    def __call__(self, prompt: str, suffix: str | None = None, **fields: Unpack[FimFields]) -> str:
        """Return the text for the hole.

        Args:
            prompt: What is before the hole.
            suffix: What is after it; None continues the prompt.
            fields: See `create`.

        Raises:
            OverloadedError: The backend gave up half-way.
            OutputError: The answer holds no completion.
            SettingsError, openai.OpenAIError: As in `create`.
        """
        return completion_text(self.create(prompt=prompt, suffix=suffix, **fields))

    @overload
    def create(
        self,
        *,
        prompt: str,
        suffix: str | None = None,
        stream: Literal[False] | Omit | None = omit,
        **fields: Unpack[FimFields],
    ) -> Completion: ...
    @overload
    def create(
        self, *, prompt: str, suffix: str | None = None, stream: Literal[True], **fields: Unpack[FimFields]
    ) -> Stream[Completion]: ...
    @overload
    def create(
        self, *, prompt: str, suffix: str | None = None, stream: bool, **fields: Unpack[FimFields]
    ) -> Completion | Stream[Completion]: ...
    def create(
        self,
        *,
        prompt: str,
        suffix: str | None = None,
        stream: bool | Omit | None = omit,
        **fields: Unpack[FimFields],
    ) -> Completion | Stream[Completion]:
        """Complete the text between prompt and suffix; nothing is thought about first.

        Args:
            prompt: What is before the hole.
            suffix: What is after it; None continues the prompt.
            stream: Whether to return the pieces as they come.
            fields: See `FimFields`; `model` defaults to the client's.

        Raises:
            SettingsError: max_tokens is more than the backend takes, or the model name is retired.
            openai.OpenAIError: The backend refused, failed or could not be reached.
        """
        given = cast("dict[str, Any]", fields)
        check_max_tokens(given.get("max_tokens"), self._client.backend_name)
        model = given.get("model") or self._client.default_model
        completions: Completions = self._client.completions
        request: dict[str, Any] = {**_request(prompt, suffix, given), "model": model, "stream": stream}
        return cast("Completion | Stream[Completion]", completions.create(**request))


class AsyncFim:
    r"""The asynchronous twin of Fim: `await client.fim("def add(a, b):\n    ", "\n")`."""

    def __init__(self, client: AsyncExtras) -> None:
        self._client = client

    async def __call__(self, prompt: str, suffix: str | None = None, **fields: Unpack[FimFields]) -> str:
        """Return the text for the hole; see `Fim.__call__`."""
        return completion_text(await self.create(prompt=prompt, suffix=suffix, **fields))

    @overload
    async def create(
        self,
        *,
        prompt: str,
        suffix: str | None = None,
        stream: Literal[False] | Omit | None = omit,
        **fields: Unpack[FimFields],
    ) -> Completion: ...
    @overload
    async def create(
        self, *, prompt: str, suffix: str | None = None, stream: Literal[True], **fields: Unpack[FimFields]
    ) -> AsyncStream[Completion]: ...
    @overload
    async def create(
        self, *, prompt: str, suffix: str | None = None, stream: bool, **fields: Unpack[FimFields]
    ) -> Completion | AsyncStream[Completion]: ...
    async def create(
        self,
        *,
        prompt: str,
        suffix: str | None = None,
        stream: bool | Omit | None = omit,
        **fields: Unpack[FimFields],
    ) -> Completion | AsyncStream[Completion]:
        """Complete the text between prompt and suffix; see `Fim.create`."""
        given = cast("dict[str, Any]", fields)
        check_max_tokens(given.get("max_tokens"), self._client.backend_name)
        model = given.get("model") or await self._client.resolve_model()
        completions: AsyncCompletions = self._client.completions
        request: dict[str, Any] = {**_request(prompt, suffix, given), "model": model, "stream": stream}
        return cast("Completion | AsyncStream[Completion]", await completions.create(**request))


def completion_text(completion: Completion) -> str:
    """Return the text of a whole completion.

    Raises:
        OverloadedError: The backend gave up half-way; what it wrote is not to be mistaken for an answer.
        OutputError: There is no text.
    """
    if not completion.choices:
        raise OutputError("the answer holds no completion", help_message="Ask again.")
    check_complete(completion)
    return completion.choices[0].text or ""


def check_complete(completion: Completion) -> None:
    """Let pass what the backend finished, or has not finished yet.

    Raises:
        OverloadedError: It gave up half-way.
    """
    # A reason that only DeepSeek has; the SDK's type does not know it.
    if any(str(choice.finish_reason) == GIVEN_UP for choice in completion.choices):
        raise OverloadedError("the backend gave up half-way", help_message="Ask again.")


def check_max_tokens(max_tokens: int | None, backend: str) -> None:
    """Refuse what the backend would refuse: a longer completion than this route makes.

    Raises:
        SettingsError: It is too long; servers of other makes have limits of their own and are not judged.
    """
    longest = limit("fim_max_tokens")
    if max_tokens is not None and max_tokens > longest and backend in {"hosted", "local"}:
        raise SettingsError(
            f"max_tokens={max_tokens} is more than the {longest} that a completion in the middle may have",
            help_message=f"Pass at most {longest}, or use client.chat.completions for longer answers.",
        )


def _request(prompt: str, suffix: str | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for the SDK's completions; what is None is left out."""
    given = {"prompt": prompt, "suffix": suffix, **fields}
    return dialect_fields({name: value for name, value in given.items() if value is not None})
