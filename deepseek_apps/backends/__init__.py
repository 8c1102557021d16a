"""Who answers: hosted, server or local, each a pair of httpx2 transports."""

from deepseek_apps.backends.base import BACKEND_HEADER, PLACEHOLDER_KEY, Backend, BackendName
from deepseek_apps.backends.hosted import HostedBackend
from deepseek_apps.backends.local import AsyncLocalTransport, LocalBackend, LocalTransport
from deepseek_apps.backends.select import select_backend, select_targets
from deepseek_apps.backends.server import ServerBackend
from deepseek_apps.backends.target import Target

__all__ = [
    "BACKEND_HEADER",
    "PLACEHOLDER_KEY",
    "AsyncLocalTransport",
    "Backend",
    "BackendName",
    "HostedBackend",
    "LocalBackend",
    "LocalTransport",
    "ServerBackend",
    "Target",
    "select_backend",
    "select_targets",
]
