"""The hosted backend: DeepSeek's API, with its key, its beta address and its retired names taken care of.

The dialect itself is not translated here: it is what everything above already speaks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import httpx2

from deepseek_apps.backends._json_schema import schema_in_prompt, wants_schema
from deepseek_apps.backends.base import Backend, BackendName
from deepseek_apps.backends.guard import AsyncGuardedTransport, Guard, GuardedTransport, with_body
from deepseek_apps.catalog import canonical_name, catalogue

__all__ = ["HostedBackend", "needs_beta"]

BETA_PREFIX = "/beta"
API_VERSION_PREFIX = "/v1"
# A body without these is sent unread: parsing a long prompt on every call would be wasted.
MARKERS = (b'"prefix"', b'"strict"', b'"json_schema"')


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedBackend(Backend):
    """DeepSeek's API.

    Attributes:
        api_key: The DeepSeek key, sent to base_url's host only.
        base_url: Another address that speaks the same API, such as a mirror the key was issued for.
        default_model: Hosted model name.
    """

    name: ClassVar[BackendName] = "hosted"
    base_url: str = field(default_factory=lambda: catalogue().base_url)
    default_model: str | None = field(default_factory=lambda: catalogue().default_model)

    def transport(self, inner: httpx2.BaseTransport | None = None) -> httpx2.BaseTransport:
        """Return HTTP to the API and to no other host."""
        return GuardedTransport(self._guard(), inner)

    def async_transport(self, inner: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncBaseTransport:
        """Return asynchronous HTTP to the API and to no other host."""
        return AsyncGuardedTransport(self._guard(), inner)

    def model_name(self, name: str) -> str:
        """Return today's name of a model; retired names are refused."""
        return canonical_name(name)

    def _guard(self) -> Guard:
        return Guard(name=self.name, base_url=self.base_url, api_key=self.api_key, rewrite=rewrite)


def rewrite(request: httpx2.Request) -> httpx2.Request:
    """Return the request as the API takes it: beta address, schemas in the prompt; no retired model names.

    Raises:
        SettingsError: The request names a model that DeepSeek has retired.
    """
    path = request.url.path
    if request.method != "POST" or not path.endswith("/completions"):
        return request
    body = _peek(request)
    if isinstance(model := body.get("model"), str):
        canonical_name(model)
    if needs_beta(path, body) and not path.startswith(f"{BETA_PREFIX}/"):
        request.url = request.url.copy_with(path=BETA_PREFIX + path.removeprefix(API_VERSION_PREFIX))
    if wants_schema(body):
        return with_body(request, json.dumps(schema_in_prompt(body), ensure_ascii=False).encode())
    return request


def needs_beta(path: str, body: Mapping[str, object]) -> bool:
    """Whether only the beta address takes this: completion in the middle or of a prefix, and strict tools."""
    if not path.endswith("/chat/completions"):
        return True
    messages, tools = body.get("messages"), body.get("tools")
    last = messages[-1] if isinstance(messages, list) and messages else {}
    functions = [_member(tool, "function") for tool in tools] if isinstance(tools, list) else []
    return _member(last, "prefix") is True or any(
        _member(function, "strict") is True for function in functions
    )


def _peek(request: httpx2.Request) -> Mapping[str, object]:
    """Parse a body that may hold something we act on; any other, and any that is not JSON, is empty."""
    try:
        content = request.content
    except httpx2.RequestNotRead:
        return {}
    names = [f'"{name}"'.encode() for name in catalogue().retired]
    if not any(marker in content for marker in (*MARKERS, *names)):
        return {}
    try:
        body = json.loads(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _member(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None
