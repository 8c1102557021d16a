"""LangChain's own integration suite over ChatDeepSeek, answered by the loopback DeepSeek."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, Literal

import pytest
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_responder import understand
from langchain_tests.integration_tests import ChatModelIntegrationTests

from deepseek_apps import ChatDeepSeek
from deepseek_apps.testing import FakeDeepSeek

LONG = "The quick brown fox jumps over the lazy dog. " * 40


class HostedSuite(ChatModelIntegrationTests):
    """The suite, with a DeepSeek that every test of a class shares."""

    reasoning_policy: ClassVar[Literal["fill", "reject"]]
    fake: ClassVar[FakeDeepSeek]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def upstream(cls) -> Iterator[None]:
        with FakeDeepSeek(reasoning_policy=cls.reasoning_policy) as fake:
            fake.responder = understand
            cls.fake = fake
            yield

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
        where = {"base_url": self.fake.url, "api_key": self.fake.api_key}
        return {"model": "deepseek-flash", "backend": "hosted", **where}

    @property
    def model_override_value(self) -> str:
        return "deepseek-v4-pro"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(
        self,
    ) -> dict[Literal["invoke", "stream"], list[str]]:
        return {
            "invoke": ["reasoning_output", "cache_read_input"],
            "stream": ["reasoning_output", "cache_read_input"],
        }

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._ask(LONG, stream=stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return self._ask(LONG, stream=stream)

    def _ask(self, text: str, *, stream: bool) -> AIMessage:
        model = ChatDeepSeek(**self.chat_model_params)
        model.invoke(text)
        return add_ai_message_chunks(*model.stream(text)) if stream else model.invoke(text)


class TestReasoningFilledIn(HostedSuite):
    """The API as most reports have it: reasoning that does not come back is taken for empty."""

    reasoning_policy = "fill"


class TestReasoningDemanded(HostedSuite):
    """The API as other reports have it: a tool turn without its reasoning is refused."""

    reasoning_policy = "reject"
