"""LangChain's own integration suite over ChatDeepSeek, answered by a real model on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests

from deepseek_apps import ChatDeepSeek


class LocalSuite(ChatModelIntegrationTests):
    """The suite with a model of the embedded engine."""

    model_name: ClassVar[str]
    other_name: ClassVar[str]

    @pytest.fixture
    async def model(self, request: Any) -> AsyncIterator[ChatDeepSeek]:
        extra = getattr(request, "param", None) or {}
        model = ChatDeepSeek(**{**self.standard_chat_model_params, **self.chat_model_params, **extra})
        yield model
        model.root_client.close()
        await model.root_async_client.close()

    @property
    def chat_model_class(self) -> type[ChatDeepSeek]:
        return ChatDeepSeek

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.model_name, "backend": "local", "timeout": 300}

    @property
    def model_override_value(self) -> str:
        return self.other_name

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


@pytest.mark.slow
class TestStarter(LocalSuite):
    """All of it, with the model that answers by default."""

    model_name = "starter"
    other_name = "starter-small"
