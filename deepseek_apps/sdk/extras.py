"""What DeepSeek and AsyncDeepSeek have beyond the openai SDK's clients, whichever backend answers.

Construction, copies and pickles are client.py's business.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

import httpx2
import openai

from deepseek_apps.backends import Backend, BackendName
from deepseek_apps.balance import BALANCE_PATH, Balance, balance_from_wire, require_account
from deepseek_apps.cost import Cost, Currency
from deepseek_apps.errors import SettingsError, from_openai_error
from deepseek_apps.sdk.chat import AsyncDeepSeekChat, DeepSeekChat
from deepseek_apps.sdk.cost import cost_at
from deepseek_apps.sdk.fim import AsyncFim, Fim
from deepseek_apps.sdk.models import AsyncDeepSeekModels, DeepSeekModels
from deepseek_apps.sdk.plan import first_model

__all__ = ["AsyncExtras", "SyncExtras"]


class SyncExtras(openai.OpenAI):
    """The synchronous client's share."""

    _backend: Backend

    @property
    def backend_name(self) -> BackendName:
        """Who answers: hosted, local or server."""
        return self._backend.name

    @property
    def default_model(self) -> str:
        """Model to pass as `model=`: the configured one, else the backend's own.

        A server without a configured model is asked what it serves, once.

        Raises:
            BackendError: The server cannot be asked, or serves nothing.
        """
        if self._backend.default_model is None:
            try:
                served = [model.id for model in self.models.list()]
            except (openai.OpenAIError, httpx2.HTTPError) as error:
                raise from_openai_error(error) from error
            self._backend = first_model(self._backend, served)
        return str(self._backend.default_model)

    @cached_property
    def chat(self) -> DeepSeekChat:
        """Conversations; `thinking` and `user_id` are keyword arguments like any other."""
        return DeepSeekChat(self)

    @cached_property
    def models(self) -> DeepSeekModels:
        """What the backend serves."""
        return DeepSeekModels(self)

    @cached_property
    def fim(self) -> Fim:
        r"""Completion in the middle: `client.fim("def add(a, b):\n    ", "\n")`."""
        return Fim(self)

    def balance(self) -> Balance:
        """Return what is left on the DeepSeek account.

        Raises:
            SettingsError: The backend is not DeepSeek's API; only there is an account.
            openai.OpenAIError: The API refused, failed or could not be reached.
            BackendError: The reply is not what the API documents.
        """
        require_account(self.backend_name)
        return balance_from_wire(self.get(BALANCE_PATH, cast_to=object))

    def cost(
        self,
        usage: object,
        *,
        model: str | None = None,
        at: datetime | None = None,
        currency: Currency = "USD",
    ) -> Cost | None:
        """Return what an answer cost, by the price list that held at its hour; asks nobody.

        Args:
            usage: An answer, the last chunk of one, or its usage: the SDK's, LangChain's, or a dict.
            model: Who answered. Default: what the answer says, else the client's default. A hosted model's
                name asks for DeepSeek's price whoever answered.
            at: When, with a time zone. Default: what the answer says, else now.
            currency: USD or CNY.

        Returns:
            The cost, which is nothing for this machine and for servers without a price of their own; None for
            a hosted model whose price at that time is not known.

        Raises:
            SettingsError: There are no token counts in `usage`, or `at` has no time zone.
        """
        return cost_at(self._backend, usage, model=model, at=at, currency=currency)


class AsyncExtras(openai.AsyncOpenAI):
    """The asynchronous client's share."""

    _backend: Backend

    @property
    def backend_name(self) -> BackendName:
        """Who answers: hosted, local or server."""
        return self._backend.name

    @property
    def default_model(self) -> str:
        """Model to pass as `model=`: the configured one, else the backend's own.

        Raises:
            SettingsError: Only the server knows, and has not been asked: see `resolve_model`.
        """
        if self._backend.default_model is None:
            raise SettingsError(
                f"no model is configured for {self._backend.base_url}",
                help_message="Pass model=, or call `await client.resolve_model()` first.",
            )
        return self._backend.default_model

    async def resolve_model(self) -> str:
        """Return `default_model`; a server without a configured model is asked what it serves, once.

        Raises:
            BackendError: The server cannot be asked, or serves nothing.
        """
        if self._backend.default_model is None:
            try:
                served = [model.id async for model in self.models.list()]
            except (openai.OpenAIError, httpx2.HTTPError) as error:
                raise from_openai_error(error) from error
            self._backend = first_model(self._backend, served)
        return self.default_model

    @cached_property
    def chat(self) -> AsyncDeepSeekChat:
        """Conversations; `thinking` and `user_id` are keyword arguments like any other."""
        return AsyncDeepSeekChat(self)

    @cached_property
    def models(self) -> AsyncDeepSeekModels:
        """What the backend serves."""
        return AsyncDeepSeekModels(self)

    @cached_property
    def fim(self) -> AsyncFim:
        r"""Completion in the middle: `await client.fim("def add(a, b):\n    ", "\n")`."""
        return AsyncFim(self)

    async def balance(self) -> Balance:
        """Return what is left on the DeepSeek account; see `DeepSeek.balance`."""
        require_account(self.backend_name)
        return balance_from_wire(await self.get(BALANCE_PATH, cast_to=object))

    def cost(
        self,
        usage: object,
        *,
        model: str | None = None,
        at: datetime | None = None,
        currency: Currency = "USD",
    ) -> Cost | None:
        """Return what an answer cost; asks nobody, so there is nothing to await. See `DeepSeek.cost`."""
        return cost_at(self._backend, usage, model=model, at=at, currency=currency)
