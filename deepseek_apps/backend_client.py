"""httpx2 clients over a backend: what the openai SDK, LangChain models and other frameworks are given."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import httpx2
from pydantic import SecretStr

from deepseek_apps.backends._engines import Notice
from deepseek_apps.backends.base import Backend
from deepseek_apps.backends.local import LocalBackend
from deepseek_apps.backends.select import select_backend
from deepseek_apps.backends.target import Target
from deepseek_apps.routing.metering import metered, metered_async
from deepseek_apps.settings import BackendChoice, load_settings

__all__ = ["AsyncBackendClient", "BackendClient", "async_http_client", "http_client", "timeout_of"]

CONNECT_SECONDS = 10.0


class BackendClient(httpx2.Client):
    """An httpx2 client whose requests reach one backend. Redirects are never followed.

    Attributes:
        backend: Who answers.
    """

    def __init__(self, backend: Backend, *, timeout: float = 600.0) -> None:
        super().__init__(
            transport=metered(backend.transport(), only(backend)),
            base_url=backend.base_url,
            timeout=timeout_of(timeout),
            follow_redirects=False,
        )
        self.backend = backend

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.backend, self.timeout)

    def __del__(self) -> None:
        # Chat models are dropped and not closed; their connections need not wait for the process to end.
        with contextlib.suppress(Exception):
            self.close()


class AsyncBackendClient(httpx2.AsyncClient):
    """An asynchronous httpx2 client whose requests reach one backend. Redirects are never followed.

    Attributes:
        backend: Who answers.
    """

    def __init__(self, backend: Backend, *, timeout: float = 600.0) -> None:
        super().__init__(
            transport=metered_async(backend.async_transport(), only(backend)),
            base_url=backend.base_url,
            timeout=timeout_of(timeout),
            follow_redirects=False,
        )
        self.backend = backend

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.backend, self.timeout)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            asyncio.get_running_loop().create_task(self.aclose())


def http_client(
    backend: BackendChoice | None = None,
    *,
    model: str | None = None,
    base_url: str | None = None,
    api_key: str | SecretStr | None = None,
    timeout: float | None = None,
    notice: Notice | None = None,
) -> BackendClient:
    """Return an httpx2 client for anything that takes one, such as `ChatDeepSeek(http_client=…)`.

    The key is added by the client itself, so the framework may be given any placeholder as its own.

    Args:
        backend: hosted, local, server or auto; None takes the configured one.
        model: Name or path of the model that the local backend answers with when asked for a hosted name.
        base_url: Address of a server.
        api_key: Key for that address, or for the hosted API.
        timeout: Seconds to wait for the next byte; None takes the configured 600.
        notice: Told one line before a local model is loaded, if there is something to say: what was chosen
            for it, or that it does not fit memory.

    Raises:
        SettingsError: Something is missing or contradictory.
        AuthenticationError: The hosted API was chosen and there is no key for it.
    """
    settings = load_settings(backend=backend, model=model, timeout=timeout)
    chosen = _with_notice(select_backend(settings, base_url=base_url, api_key=api_key), notice)
    return BackendClient(chosen, timeout=settings.timeout)


def async_http_client(
    backend: BackendChoice | None = None,
    *,
    model: str | None = None,
    base_url: str | None = None,
    api_key: str | SecretStr | None = None,
    timeout: float | None = None,
    notice: Notice | None = None,
) -> AsyncBackendClient:
    """Return the asynchronous twin of `http_client`, with the same arguments and errors."""
    settings = load_settings(backend=backend, model=model, timeout=timeout)
    chosen = _with_notice(select_backend(settings, base_url=base_url, api_key=api_key), notice)
    return AsyncBackendClient(chosen, timeout=settings.timeout)


def only(backend: Backend) -> tuple[Target, ...]:
    """Return a backend as the one target there is."""
    return (Target(label=backend.name, replicas=(backend,)),)


def _with_notice(backend: Backend, notice: Notice | None) -> Backend:
    return replace(backend, notice=notice) if isinstance(backend, LocalBackend) else backend


def _rebuild(
    kind: type[BackendClient | AsyncBackendClient], backend: Backend, timeout: httpx2.Timeout
) -> BackendClient | AsyncBackendClient:
    client = kind(backend)
    client.timeout = timeout
    return client


def timeout_of(seconds: float) -> httpx2.Timeout:
    """Return the time-outs of a request: `seconds` between bytes, and at most ten to connect."""
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
