"""The server backend: any OpenAI-compatible address (vLLM, SGLang, llama.cpp, our own `serve`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import httpx2

from deepseek_apps.backends.base import Backend, BackendName
from deepseek_apps.backends.guard import AsyncGuardedTransport, Guard, GuardedTransport

__all__ = ["ServerBackend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBackend(Backend):
    """A server of your own, with its own key or none.

    Attributes:
        base_url: Its address, usually ending in /v1.
        api_key: Its key. The DeepSeek key is never sent here.
        default_model: Name it serves; None asks it on first use.
    """

    name: ClassVar[BackendName] = "server"

    def transport(self) -> httpx2.BaseTransport:
        """Return HTTP to this server and to no other."""
        return GuardedTransport(self._guard())

    def async_transport(self) -> httpx2.AsyncBaseTransport:
        """Return asynchronous HTTP to this server and to no other."""
        return AsyncGuardedTransport(self._guard())

    def _guard(self) -> Guard:
        return Guard(name=self.name, base_url=self.base_url, api_key=self.api_key)
