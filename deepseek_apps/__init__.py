"""Build on DeepSeek once; run the same code on the hosted API, on this machine, or on your cluster.

    from deepseek_apps import DeepSeek

    client = DeepSeek()
    messages = [{"role": "user", "content": "Hello"}]
    print(client.chat.completions.create(model=client.default_model, messages=messages))

Importing this package loads nothing heavy; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepseek_apps.backend_client import async_http_client, http_client
    from deepseek_apps.chat_model import ChatDeepSeek
    from deepseek_apps.client import AsyncDeepSeek, DeepSeek
    from deepseek_apps.errors import BackendError, DeepSeekAppsError, SettingsError, from_openai_error
    from deepseek_apps.routing.run import run
    from deepseek_apps.settings import Settings, load_settings

__all__ = [
    "AsyncDeepSeek",
    "BackendError",
    "ChatDeepSeek",
    "DeepSeek",
    "DeepSeekAppsError",
    "Settings",
    "SettingsError",
    "async_http_client",
    "from_openai_error",
    "http_client",
    "load_settings",
    "run",
]

_HOME = {
    "AsyncDeepSeek": "client",
    "BackendError": "errors",
    "ChatDeepSeek": "chat_model",
    "DeepSeek": "client",
    "DeepSeekAppsError": "errors",
    "Settings": "settings",
    "SettingsError": "errors",
    "async_http_client": "backend_client",
    "from_openai_error": "errors",
    "http_client": "backend_client",
    "load_settings": "settings",
    "run": "routing.run",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
