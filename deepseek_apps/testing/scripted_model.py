"""A LangChain chat model that says what a test told it to, with no server behind it.

For tests of agents and chains. It judges nothing: what was asked is recorded, what is queued is answered.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from deepseek_apps.testing._scripted_message import chunks_of, with_usage

__all__ = ["ScriptUsedUpError", "ScriptedCall", "ScriptedChatModel", "ScriptedReply"]

ScriptedReply: TypeAlias = (
    str | AIMessage | Mapping[str, Any] | BaseModel | Exception | Callable[[list[BaseMessage]], Any]
)
"""Text, a message, the value of a structured output, an error to raise, or what makes one of them."""


class ScriptUsedUpError(AssertionError):
    """A scripted model was asked more often than it has replies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedCall:
    """One thing the model was asked.

    Attributes:
        messages: The whole conversation.
        tools: Those bound to it, in OpenAI's form.
        tool_choice: As it was bound.
        stop: Stop strings.
        options: Everything else that came with the call.
    """

    messages: list[BaseMessage]
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: Any = None
    stop: list[str] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def forced_tool(self) -> str | None:
        """The name of the tool that must be called; the first of several."""
        if not self.tools or self.tool_choice in (None, "auto", "none", False):
            return None
        if isinstance(self.tool_choice, Mapping):
            return str(self.tool_choice["function"]["name"])
        names = [str(tool["function"]["name"]) for tool in self.tools]
        return self.tool_choice if self.tool_choice in names else names[0]


class ScriptedChatModel(BaseChatModel):
    """Answers with `replies` in order, and remembers what it was asked.

        model = ScriptedChatModel(replies=["Let me look.", AIMessage("", tool_calls=[...]), {"answer": 42}])

    A reply is a text; an `AIMessage`, sent as it is; a mapping or pydantic object, which becomes the
    arguments of the tool that must be called (as `with_structured_output` has it) or JSON text where none
    must; an exception, which is raised; or a function from the messages to one of these. Streams fold to
    the same message as whole answers. Options of other chat models are taken and ignored.

    Attributes:
        replies: The script.
        repeat_last: Give the last reply again for ever instead of ending with ScriptUsedUpError.
        model: The name it reports; may be given for each call.

    Raises:
        ScriptUsedUpError: (by each call) There is no reply left.
    """

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)

    replies: list[Any] = Field(default_factory=list)
    repeat_last: bool = False
    model: str = "scripted"
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None

    _calls: list[ScriptedCall] = PrivateAttr(default_factory=list)
    _left: deque[Any] = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Begin the script."""
        super().model_post_init(context)
        self._left = deque(self.replies)

    @property
    def calls(self) -> list[ScriptedCall]:
        """What the model was asked so far."""
        return self._calls

    def assert_all_used(self) -> None:
        """Check that every reply has been given.

        Raises:
            AssertionError: Some is left; the message lists them.
        """
        if self._left and not self.repeat_last:
            raise AssertionError(f"not asked for: {list(self._left)}")

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Show tools to the model; a mapping in the script answers a `tool_choice` that forces one."""
        shown = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=shown, tool_choice=tool_choice, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "scripted-chat-model"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "replies": repr(self.replies)}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "scripted"
        params["ls_model_name"] = kwargs.get("model") or self.model
        return params

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, stop, kwargs))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        return self._generate(messages, stop, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in chunks_of(self._next(messages, stop, kwargs)):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in chunks_of(self._next(messages, stop, kwargs)):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _next(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> AIMessage:
        options = dict(kwargs)
        call = ScriptedCall(
            messages=list(messages),
            tools=options.pop("tools", None) or [],
            tool_choice=options.pop("tool_choice", None),
            stop=stop or self.stop,
            options=options,
        )
        self._calls.append(call)
        message = self._message(self._take(call), call)
        # A copy: what a caller does to the answer must not change the script.
        return with_usage(message, messages, str(options.get("model") or self.model))

    def _take(self, call: ScriptedCall) -> ScriptedReply:
        if not self._left:
            last = call.messages[-1] if call.messages else None
            raise ScriptUsedUpError(
                f"the script has {len(self.replies)} replies and this is call {len(self._calls)}, which ends "
                f"with {last!r}. Add a reply, or set repeat_last=True."
            )
        if self.repeat_last and len(self._left) == 1:
            return self._left[0]  # type: ignore[no-any-return]
        return self._left.popleft()  # type: ignore[no-any-return]

    def _message(self, reply: ScriptedReply, call: ScriptedCall) -> AIMessage:
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, AIMessage):
            return reply
        if isinstance(reply, str):
            return AIMessage(reply)
        if isinstance(reply, BaseModel):
            return self._message(reply.model_dump(mode="json"), call)
        if isinstance(reply, Mapping):
            return self._structured(dict(reply), call)
        if callable(reply):
            return self._message(reply(call.messages), call)
        raise TypeError(f"a scripted reply cannot be a {type(reply).__name__}: {reply!r}")

    def _structured(self, value: dict[str, Any], call: ScriptedCall) -> AIMessage:
        if call.forced_tool is None:
            return AIMessage(json.dumps(value, ensure_ascii=False))
        made = {"name": call.forced_tool, "args": value, "id": f"call_{len(self._calls):02d}"}
        return AIMessage("", tool_calls=[{**made, "type": "tool_call"}])
