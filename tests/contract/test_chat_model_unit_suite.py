"""LangChain's own unit suite over ChatDeepSeek; nothing in it is skipped or expected to fail."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from langchain_tests.unit_tests import ChatModelUnitTests

from deepseek_apps import ChatDeepSeek

PATH = ("deepseek_apps", "chat_model", "ChatDeepSeek")


@pytest.fixture(autouse=True)
def loader_knows_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Admit our class: LangChain's loader takes a list of classes, and its suite passes LangChain's own."""
    loading = importlib.import_module("langchain_core.load.load")  # the package has a function of that name
    known = loading._get_default_allowed_class_paths("all")
    monkeypatch.setitem(loading._default_class_paths_cache, "all", known | {PATH})


class TestHosted(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[ChatDeepSeek]:
        return ChatDeepSeek

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "deepseek-flash", "backend": "hosted", "api_key": "sk-test"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return (
            {"DEEPSEEK_API_KEY": "api_key", "DEEPSEEK_API_BASE": "https://api.deepseek.com"},
            {"model": "deepseek-flash", "backend": "hosted"},
            {"api_key": "api_key", "api_base": "https://api.deepseek.com"},
        )


class TestLocal(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[ChatDeepSeek]:
        return ChatDeepSeek

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "starter-small", "backend": "local"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"DEEPSEEK_API_KEY": "api_key"}, {"model": "starter-small", "backend": "local"}, {}
