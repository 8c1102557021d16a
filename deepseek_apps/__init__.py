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
    from deepseek_apps.errors import (
        BackendError,
        BudgetExceededError,
        DeepSeekAppsError,
        OutputError,
        SettingsError,
        StructuredOutputInvalidError,
        from_openai_error,
    )
    from deepseek_apps.langchain_fim import DeepSeekFIM
    from deepseek_apps.routing.run import run
    from deepseek_apps.settings import Settings, load_settings
    from deepseek_apps.tokens import count_tokens

__all__ = [
    "AsyncDeepSeek", "BackendError", "BudgetExceededError", "ChatDeepSeek", "DeepSeek", "DeepSeekAppsError",
    "DeepSeekFIM", "OutputError", "Settings", "SettingsError", "StructuredOutputInvalidError",
    "async_http_client", "count_tokens", "from_openai_error", "http_client", "load_settings", "run",
]  # fmt: skip

_NAMES = {  # what is not here is in errors.py
    "backend_client": ("async_http_client", "http_client"),
    "chat_model": ("ChatDeepSeek",),
    "client": ("AsyncDeepSeek", "DeepSeek"),
    "langchain_fim": ("DeepSeekFIM",),
    "routing.run": ("run",),
    "settings": ("Settings", "load_settings"),
    "tokens": ("count_tokens",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
