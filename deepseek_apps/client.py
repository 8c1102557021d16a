"""DeepSeek and AsyncDeepSeek: the openai SDK's clients over our backends.

Every method, type and exception is the SDK's. What is ours: who answers, that no key of the environment
reaches a host it was not given for, and what sdk/extras.py adds: the default model, `fim`, `balance()`,
`cost()`, and the fields that `chat.completions` takes beside the SDK's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import httpx2
from openai import NOT_GIVEN
from pydantic import SecretStr

from deepseek_apps.backend_client import AsyncBackendClient, BackendClient
from deepseek_apps.backends import PLACEHOLDER_KEY
from deepseek_apps.sdk.deadline import OneDeadline
from deepseek_apps.sdk.extras import AsyncExtras, SyncExtras
from deepseek_apps.sdk.plan import ClientOptions, TimeoutOption, forget_openai_environment, plan_client
from deepseek_apps.settings import BackendChoice

__all__ = ["AsyncDeepSeek", "DeepSeek"]


class DeepSeek(OneDeadline, SyncExtras):
    """The openai SDK's client, answered by DeepSeek's API, by this machine, or by a server of yours.

    Construction opens no connection and loads no model. Options left out are read from the environment and
    the config file. `with_options()` and `copy()` keep the backend; pickling rebuilds it, and the pickle then
    holds the key.

    Args:
        backend: hosted, local, server, server:NAME, or a policy: cheapest, private (nothing leaves this
            machine), or auto: the server if an address is set, else hosted if there is a
            DeepSeek key, else local. Default: the configured one, auto.
        model: Default model; see `default_model`.
        base_url: Address of a server, or of the hosted API; several are replicas of one server.
        api_key: Key for that address. Default: DEEPSEEK_API_KEY for the hosted API, and for a server
            DEEPSEEK_APPS_SERVER_API_KEY. OPENAI_API_KEY is never used.
        timeout: Seconds to wait for the next byte, or an httpx2.Timeout; None waits for ever. Default: 600.
        max_retries: How often a failed request is sent again. Default: 2, and 0 for the local backend.
        default_headers: Sent with every request; credentials belong into api_key.
        default_query: Sent with every request.
        http_client: A client made by `deepseek_apps.http_client`, to share its connections and its backend;
            or any client of httpx2 or httpx, to connect through its proxy or with its certificates. That one
            gets no say in who is asked and with which key, and stays open: it is yours.
        sdk_options: The SDK's other options; they exist for its copy() and are refused when given a value.

    Raises:
        SettingsError: Something is missing or contradictory; the message says what to do.
        AuthenticationError: The hosted API was chosen and there is no key for it.
    """

    def __init__(
        self,
        *,
        backend: BackendChoice | None = None,
        model: str | None = None,
        base_url: str | httpx2.URL | Sequence[str] | None = None,
        api_key: str | SecretStr | None = None,
        timeout: TimeoutOption = NOT_GIVEN,
        max_retries: int | None = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        http_client: httpx2.Client | None = None,
        **sdk_options: object,
    ) -> None:
        options = ClientOptions(
            backend=backend,
            model=model,
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
        )
        plan = plan_client(options, http_client, sdk_options, BackendClient)
        if not (isinstance(http_client, BackendClient) and http_client.backend == plan.backend):
            http_client = BackendClient(plan.backend, deadline=plan.deadline, through=plan.through)
        super().__init__(
            # The real key lives in the transport and nowhere else.
            api_key=PLACEHOLDER_KEY,
            base_url=plan.base_url,
            timeout=plan.timeout,
            max_retries=plan.max_retries,
            default_headers=default_headers,
            default_query=default_query,
            http_client=http_client,
        )
        forget_openai_environment(self, default_headers)
        self._backend = plan.backend

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), http_client=self._client, **_constructor_options(self)), ()


class AsyncDeepSeek(OneDeadline, AsyncExtras):
    """The asynchronous twin of DeepSeek, with the same arguments and errors.

    Cancelling a task that waits for an answer cancels the generation.
    """

    def __init__(
        self,
        *,
        backend: BackendChoice | None = None,
        model: str | None = None,
        base_url: str | httpx2.URL | Sequence[str] | None = None,
        api_key: str | SecretStr | None = None,
        timeout: TimeoutOption = NOT_GIVEN,
        max_retries: int | None = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        http_client: httpx2.AsyncClient | None = None,
        **sdk_options: object,
    ) -> None:
        options = ClientOptions(
            backend=backend,
            model=model,
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
        )
        plan = plan_client(options, http_client, sdk_options, AsyncBackendClient)
        if not (isinstance(http_client, AsyncBackendClient) and http_client.backend == plan.backend):
            http_client = AsyncBackendClient(plan.backend, deadline=plan.deadline, through=plan.through)
        super().__init__(
            api_key=PLACEHOLDER_KEY,
            base_url=plan.base_url,
            timeout=plan.timeout,
            max_retries=plan.max_retries,
            default_headers=default_headers,
            default_query=default_query,
            http_client=http_client,
        )
        forget_openai_environment(self, default_headers)
        self._backend = plan.backend

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), http_client=self._client, **_constructor_options(self)), ()


def _constructor_options(client: DeepSeek | AsyncDeepSeek) -> dict[str, Any]:
    """Return the arguments that make the same client again, but for its http_client."""
    return {
        "base_url": str(client.base_url),
        "timeout": client.timeout,
        "max_retries": client.max_retries,
        "default_headers": dict(client._custom_headers),
        "default_query": dict(client._custom_query),
    }
