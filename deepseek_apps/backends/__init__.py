"""Who answers: hosted, server or local, each a pair of httpx2 transports."""

from deepseek_apps.backends.base import BACKEND_HEADER, PLACEHOLDER_KEY, Backend, BackendName
from deepseek_apps.backends.hosted import HostedBackend
from deepseek_apps.backends.http import (
    AsyncBackendClient,
    BackendClient,
    async_http_client,
    http_client,
    timeout_of,
)
from deepseek_apps.backends.local import AsyncLocalTransport, LocalBackend, LocalTransport
from deepseek_apps.backends.select import select_backend
from deepseek_apps.backends.server import ServerBackend

__all__ = [
    "BACKEND_HEADER",
    "PLACEHOLDER_KEY",
    "AsyncBackendClient",
    "AsyncLocalTransport",
    "Backend",
    "BackendClient",
    "BackendName",
    "HostedBackend",
    "LocalBackend",
    "LocalTransport",
    "ServerBackend",
    "async_http_client",
    "http_client",
    "select_backend",
    "timeout_of",
]
