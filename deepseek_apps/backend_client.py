"""httpx2 clients over a backend: what the openai SDK, LangChain models and other frameworks are given."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import httpx2
from pydantic import SecretStr

from deepseek_apps.backends._engines import Notice
from deepseek_apps.backends.base import Backend
from deepseek_apps.backends.foreign import foreign_async_transport, foreign_transport
from deepseek_apps.errors import SettingsError
from deepseek_apps.routing._deadline_transport import AsyncDeadlineTransport, DeadlineTransport
from deepseek_apps.routing.metering import metered, metered_async
from deepseek_apps.routing.routed import RoutedBackend, select_route, targets_of
from deepseek_apps.settings import BackendChoice, load_settings

__all__ = ["AsyncBackendClient", "BackendClient", "async_http_client", "http_client", "timeout_of"]

CONNECT_SECONDS = 10.0


class BackendClient(httpx2.Client):
    """An httpx2 client whose requests reach one backend, or a router's choice. Redirects are never followed.

    Attributes:
        backend: Who answers.
        deadline: Seconds a whole call may take if its request says nothing; None is no limit.

    Args:
        backend, deadline: As above.
        timeout: Seconds to wait for the next byte.
        through: A client of httpx2 or httpx that makes the connections; who made it closes it.

    Raises:
        SettingsError: `through` is no such client, or could carry bytes off a machine they must not leave.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        timeout: float = 600.0,
        deadline: float | None = None,
        through: object | None = None,
    ) -> None:
        inner = None if through is None else foreign_transport(_checked(through, backend))
        transport = DeadlineTransport(backend.transport(inner), deadline)
        super().__init__(
            transport=metered(transport, targets_of(backend)),
            base_url=backend.base_url,
            timeout=timeout_of(timeout),
            follow_redirects=False,
        )
        self.backend = backend
        self.deadline = deadline
        self._through = through

    def __reduce__(self) -> tuple[object, ...]:
        return _pickled(self, self._through)

    def __del__(self) -> None:
        # Chat models are dropped and not closed; their connections need not wait for the process to end.
        with contextlib.suppress(Exception):
            self.close()


class AsyncBackendClient(httpx2.AsyncClient):
    """The asynchronous twin of BackendClient, with the same arguments and errors."""

    def __init__(
        self,
        backend: Backend,
        *,
        timeout: float = 600.0,
        deadline: float | None = None,
        through: object | None = None,
    ) -> None:
        inner = None if through is None else foreign_async_transport(_checked(through, backend))
        transport = AsyncDeadlineTransport(backend.async_transport(inner), deadline)
        super().__init__(
            transport=metered_async(transport, targets_of(backend)),
            base_url=backend.base_url,
            timeout=timeout_of(timeout),
            follow_redirects=False,
        )
        self.backend = backend
        self.deadline = deadline
        self._through = through

    def __reduce__(self) -> tuple[object, ...]:
        return _pickled(self, self._through)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            asyncio.get_running_loop().create_task(self.aclose())


def http_client(
    backend: BackendChoice | None = None,
    *,
    model: str | None = None,
    base_url: str | Sequence[str] | None = None,
    api_key: str | SecretStr | None = None,
    timeout: float | None = None,
    notice: Notice | None = None,
) -> BackendClient:
    """Return an httpx2 client for anything that takes one, such as `ChatDeepSeek(http_client=…)`.

    The key is added by the client itself, so the framework may be given any placeholder as its own.

    Args:
        backend: hosted, local, server, server:NAME, auto, cheapest or private; None takes the configured one.
        model: Name or path of the model that the local backend answers with when asked for a hosted name.
        base_url: Address of a server; several are replicas of one.
        api_key: Key for that address, or for the hosted API.
        timeout: Seconds to wait for the next byte; None takes the configured 600.
        notice: Told one line before a local model is loaded, if there is something to say: what was chosen
            for it, or that it does not fit memory.

    Raises:
        SettingsError: Something is missing or contradictory.
        AuthenticationError: The hosted API was chosen and there is no key for it.
    """
    settings = load_settings(backend=backend, model=model, timeout=timeout)
    chosen = select_route(settings, base_url=base_url, api_key=api_key, model=model, notice=notice)
    return BackendClient(chosen, timeout=settings.timeout, deadline=settings.deadline)


def async_http_client(
    backend: BackendChoice | None = None,
    *,
    model: str | None = None,
    base_url: str | Sequence[str] | None = None,
    api_key: str | SecretStr | None = None,
    timeout: float | None = None,
    notice: Notice | None = None,
) -> AsyncBackendClient:
    """Return the asynchronous twin of `http_client`, with the same arguments and errors."""
    settings = load_settings(backend=backend, model=model, timeout=timeout)
    chosen = select_route(settings, base_url=base_url, api_key=api_key, model=model, notice=notice)
    return AsyncBackendClient(chosen, timeout=settings.timeout, deadline=settings.deadline)


def _checked(through: object, backend: Backend) -> object:
    if isinstance(backend, RoutedBackend) and backend.policy == "private":
        raise SettingsError(
            "backend='private' makes its own connections: an http_client could have a proxy",
            help_message="Leave http_client out, or use another backend.",
        )
    return through


def _pickled(client: BackendClient | AsyncBackendClient, through: object) -> tuple[object, ...]:
    if through is not None:
        raise TypeError("a client that connects through another http_client cannot be pickled")
    return _rebuild, (type(client), client.backend, client.timeout, client.deadline)


def _rebuild(
    kind: type[BackendClient | AsyncBackendClient],
    backend: Backend,
    timeout: httpx2.Timeout,
    deadline: float | None,
) -> BackendClient | AsyncBackendClient:
    client = kind(backend, deadline=deadline)
    client.timeout = timeout
    return client


def timeout_of(seconds: float) -> httpx2.Timeout:
    """Return the time-outs of a request: `seconds` between bytes, and at most ten to connect."""
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
