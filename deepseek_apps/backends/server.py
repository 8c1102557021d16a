"""The server backend: any OpenAI-compatible address (vLLM, SGLang, llama.cpp, our own `serve`).

Everything above speaks DeepSeek's hosted dialect. What another server calls by another name is translated by
the transports made here, after the facts in catalog/servers.toml.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import httpx2

from deepseek_apps.backends._server_transport import AsyncServerTransport, ServerTransport
from deepseek_apps.backends.base import Backend, BackendName
from deepseek_apps.backends.guard import AsyncGuardedTransport, Guard, GuardedTransport
from deepseek_apps.catalog.servers import server_flavor

__all__ = ["ServerBackend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBackend(Backend):
    """A server of your own, with its own key or none.

    Attributes:
        base_url: Its address, usually ending in /v1.
        api_key: Its key. The DeepSeek key is never sent here.
        default_model: Name it serves; None asks it on first use.
        flavor: Its software, such as vllm or llama-cpp. None recognises it by its GET /models, asked by the
            first request for which it matters; where nothing is recognised, requests are sent as they are.

    Raises:
        SettingsError: No flavor has this name.
    """

    name: ClassVar[BackendName] = "server"
    flavor: str | None = None

    def __post_init__(self) -> None:
        if self.flavor is not None:
            server_flavor(self.flavor)

    def transport(self, inner: httpx2.BaseTransport | None = None) -> httpx2.BaseTransport:
        """Return HTTP to this server and to no other."""
        return ServerTransport(GuardedTransport(self._guard(), inner), self.base_url, self.flavor)

    def async_transport(self, inner: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncBaseTransport:
        """Return asynchronous HTTP to this server and to no other."""
        return AsyncServerTransport(AsyncGuardedTransport(self._guard(), inner), self.base_url, self.flavor)

    def _guard(self) -> Guard:
        return Guard(name=self.name, base_url=self.base_url, api_key=self.api_key, checks_done=False)
