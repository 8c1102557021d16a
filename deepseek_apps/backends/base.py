"""What a backend is: a name, an address, and a pair of httpx2 transports that reach it.

Everything above (clients, LangChain models, the CLI) talks DeepSeek's dialect to a transport and does not
know which backend it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import httpx2
from pydantic import SecretStr

__all__ = ["BACKEND_HEADER", "PLACEHOLDER_KEY", "WATCH_EXTENSION", "Backend", "BackendName", "watched"]

BackendName = Literal["hosted", "local", "server"]
# Response header that says which backend answered.
BACKEND_HEADER = "x-deepseek-apps-backend"
# What the openai SDK is given as its key. Without one it would take OPENAI_API_KEY; the transport puts the
# real one in its place, and nothing else ever holds it.
PLACEHOLDER_KEY = "deepseek-apps"
# Extension of a request whose call has a deadline: makes a context in which reading a reply ends with it.
WATCH_EXTENSION = "deepseek_apps_watch"


def watched(request: httpx2.Request, response: httpx2.Response) -> AbstractContextManager[object]:
    """Return a context for reading a reply before it is given out: the call's deadline ends the read."""
    watch = request.extensions.get(WATCH_EXTENSION)
    context: AbstractContextManager[object] = nullcontext() if watch is None else watch(response)
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend(ABC):
    """Who answers. Comparing, copying and pickling are by value; a pickle holds the key.

    Attributes:
        base_url: Address that request paths are joined to.
        api_key: Key for that address and no other; None sends none. Never part of a repr.
        default_model: Model to ask for when the caller names none; None if only the backend knows.
    """

    base_url: str
    api_key: SecretStr | None = field(default=None, repr=False)
    default_model: str | None = None

    @property
    @abstractmethod
    def name(self) -> BackendName:
        """Kind of backend."""

    @abstractmethod
    def transport(self, inner: httpx2.BaseTransport | None = None) -> httpx2.BaseTransport:
        """Return a new transport; opens no connection and loads no model before its first request.

        Args:
            inner: What makes the connections, instead of the transport's own; this process needs none.
        """

    @abstractmethod
    def async_transport(self, inner: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncBaseTransport:
        """Return a new asynchronous transport; it behaves as `transport` does."""

    def with_key(self, key: SecretStr) -> Self:
        """Return the same backend with another key."""
        return replace(self, api_key=key)

    def with_model(self, model: str) -> Self:
        """Return the same backend with another default model."""
        return replace(self, default_model=model)

    def model_name(self, name: str) -> str:
        """Return the name to send for what the caller called a model.

        Raises:
            SettingsError: The backend must not be sent this name.
        """
        return name
