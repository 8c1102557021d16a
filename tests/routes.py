"""Backends in front of fake DeepSeeks, and one way to ask them synchronously and asynchronously."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
from fake_deepseek import FakeDeepSeek
from pydantic import SecretStr

from deepseek_apps.backend_client import AsyncBackendClient, BackendClient
from deepseek_apps.backends import Backend, HostedBackend, ServerBackend, Target
from deepseek_apps.routing.policy import Policy
from deepseek_apps.routing.routed import RoutedBackend
from deepseek_apps.settings import ServerPrice

MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Outcome:
    """What a caller saw."""

    status: int
    body: str
    headers: httpx2.Headers

    @property
    def route(self) -> str:
        return self.headers.get("x-deepseek-apps-route", "")


Ask = Callable[..., Outcome]


def hosted(fake: FakeDeepSeek | str) -> Target:
    url = fake if isinstance(fake, str) else fake.url
    return Target(label="hosted", replicas=(HostedBackend(base_url=url, api_key=SecretStr("sk-hosted")),))


def server(
    *fakes: FakeDeepSeek | str,
    name: str = "gpu",
    model: str | None = "m",
    context: int | None = None,
    images: bool | None = None,
    price: ServerPrice | None = None,
) -> Target:
    replicas = tuple(
        ServerBackend(
            base_url=fake if isinstance(fake, str) else fake.url, default_model=model, flavor="openai"
        )
        for fake in fakes
    )
    return Target(label=f"server:{name}", replicas=replicas, context=context, images=images, price=price)


def routed(policy: Policy, *targets: Target) -> RoutedBackend:
    return RoutedBackend.of(policy, targets)


def closed_port() -> str:
    """An address at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def ask_sync(
    backend: Backend, *, path: str = "chat/completions", timeout: float = 5.0, **fields: Any
) -> Outcome:
    headers = fields.pop("headers", {})
    with BackendClient(backend, timeout=timeout) as client:
        response = client.post(path, json={"model": "m", "messages": MESSAGES} | fields, headers=headers)
        return Outcome(response.status_code, response.text, response.headers)


def ask_async(
    backend: Backend, *, path: str = "chat/completions", timeout: float = 5.0, **fields: Any
) -> Outcome:
    headers = fields.pop("headers", {})

    async def ask() -> Outcome:
        async with AsyncBackendClient(backend, timeout=timeout) as client:
            response = await client.post(
                path, json={"model": "m", "messages": MESSAGES} | fields, headers=headers
            )
            return Outcome(response.status_code, response.text, response.headers)

    return asyncio.run(ask())
