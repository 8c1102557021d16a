"""ScriptedChatModel passes LangChain's own unit suite."""

from __future__ import annotations

from typing import Any

from langchain_tests.unit_tests import ChatModelUnitTests

from deepseek_apps.testing import ScriptedChatModel


class TestScriptedChatModel(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[ScriptedChatModel]:
        return ScriptedChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"replies": ["Hello."]}
