"""What DeepSeek and AsyncDeepSeek have in common before and after they are openai clients: pure decisions.

Imports the SDK, so only client.py imports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import httpx2
import openai
from openai import NotGiven
from pydantic import SecretStr

from deepseek_apps.backend_client import AsyncBackendClient, BackendClient, timeout_of
from deepseek_apps.backends import PLACEHOLDER_KEY, Backend
from deepseek_apps.errors import NotFoundError, SettingsError
from deepseek_apps.routing.routed import select_route
from deepseek_apps.settings import BackendChoice, load_settings

__all__ = [
    "ClientOptions",
    "ClientPlan",
    "TimeoutOption",
    "first_model",
    "forget_openai_environment",
    "plan_client",
]

TimeoutOption: TypeAlias = float | httpx2.Timeout | NotGiven | None
DEFAULT_RETRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """The arguments of a client's constructor that decide who answers, and how patiently."""

    backend: BackendChoice | None
    model: str | None
    base_url: str | httpx2.URL | Sequence[str] | None
    api_key: str | SecretStr | None
    timeout: TimeoutOption
    max_retries: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPlan:
    """Those arguments with every gap filled."""

    backend: Backend
    base_url: str
    timeout: float | httpx2.Timeout | None
    max_retries: int
    deadline: float | None
    through: object | None = None


def plan_client(
    options: ClientOptions,
    http_client: object,
    rest: Mapping[str, object],
    kind: type[BackendClient | AsyncBackendClient],
) -> ClientPlan:
    """Fill the gaps in a constructor's arguments.

    Args:
        options: The arguments.
        http_client: The one given, if any; ours carry their backend, others only make the connections.
        rest: The SDK's other arguments, none of which mean anything here.
        kind: Which of ours it has to be.

    Raises:
        SettingsError: An argument is missing, contradictory, or not one of ours.
        AuthenticationError: The hosted API was chosen and there is no key for it.
    """
    _refuse_unused(rest)
    if http_client is None:
        return _plan_from_settings(options)
    if isinstance(http_client, kind):
        return _plan_from_client(options, http_client)
    if not isinstance(http_client, BackendClient | AsyncBackendClient):
        return replace(_plan_from_settings(options), through=http_client)
    maker = "http_client" if kind is BackendClient else "async_http_client"
    raise SettingsError(
        f"http_client is a {type(http_client).__name__}, not a client that keeps keys from other hosts",
        help_message=f"Leave it out, or pass one made by deepseek_apps.{maker}().",
    )


def first_model(backend: Backend, served: Iterable[str]) -> Backend:
    """Return the backend with the first model its server named as its default.

    Raises:
        NotFoundError: It named none.
    """
    for name in served:
        return replace(backend, default_model=name)
    raise NotFoundError(
        f"{backend.base_url} serves no model", help_message="Load a model on the server, or pass model=."
    )


def forget_openai_environment(
    client: openai.OpenAI | openai.AsyncOpenAI, default_headers: Mapping[str, str] | None
) -> None:
    """Undo what the SDK's constructor took from OPENAI_* variables: they are for another company's hosts."""
    client.organization = None
    client.project = None
    client.admin_api_key = None
    client.webhook_secret = None
    # OPENAI_CUSTOM_HEADERS ends up here, and there is no public way to decline it.
    client._custom_headers = dict(default_headers or {})
    client._ambient_authorizations = frozenset()


def _plan_from_settings(options: ClientOptions) -> ClientPlan:
    settings = load_settings(backend=options.backend, model=options.model)
    base_url = _addresses(options.base_url)
    backend = select_route(settings, base_url=base_url, api_key=options.api_key, model=options.model)
    # A local failure is not a lost packet: asking again would only generate twice.
    retries = 0 if backend.name == "local" else settings.max_retries
    return ClientPlan(
        backend=backend,
        base_url=backend.base_url,
        timeout=_timeout(options.timeout, timeout_of(settings.timeout)),
        max_retries=retries if options.max_retries is None else options.max_retries,
        deadline=settings.deadline,
    )


def _plan_from_client(options: ClientOptions, client: BackendClient | AsyncBackendClient) -> ClientPlan:
    """Keep the backend of a client of ours; this is also how the SDK's copy() keeps it."""
    backend = client.backend
    if options.backend not in {None, "auto", backend.name}:
        raise SettingsError(
            f"backend={options.backend!r} contradicts http_client, which reaches {backend.name!r}",
            help_message="Leave one of the two out.",
        )
    key = options.api_key.get_secret_value() if isinstance(options.api_key, SecretStr) else options.api_key
    if key and key != PLACEHOLDER_KEY and backend.name != "local":
        backend = backend.with_key(SecretStr(key))
    if options.model is not None:
        backend = backend.with_model(backend.model_name(options.model))
    retries = 0 if backend.name == "local" else DEFAULT_RETRIES
    return ClientPlan(
        backend=backend,
        base_url=_addresses(options.base_url) or backend.base_url,
        timeout=_timeout(options.timeout, client.timeout),
        max_retries=retries if options.max_retries is None else options.max_retries,
        deadline=client.deadline,
    )


def _addresses(given: str | httpx2.URL | Sequence[str] | None) -> str | None:
    if given is None:
        return None
    return str(given) if isinstance(given, str | httpx2.URL) else ",".join(given)


def _timeout(given: TimeoutOption, default: httpx2.Timeout) -> httpx2.Timeout | None:
    if isinstance(given, NotGiven):
        return default
    return timeout_of(given) if isinstance(given, int | float) else given


def _refuse_unused(rest: Mapping[str, object]) -> None:
    # The SDK's copy() passes these as they are on every client; only a value of the caller's is refused.
    for name, value in rest.items():
        if value is not None and not (name == "_enforce_credentials" and value is True):
            raise SettingsError(
                f"the option {name}={value!r} of the openai SDK means nothing here",
                help_message="Leave it out; headers of your own go into default_headers.",
            )
