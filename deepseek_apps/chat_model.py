"""ChatDeepSeek: DeepSeek as a LangChain chat model, over any backend.

A subclass of langchain-openai's base for its constructor, its tools and its place in LangChain. Requests are
made by our own clients, and messages, replies and usage are read by wire/ and usage.py, because the base
knows neither reasoning, nor cached tokens, nor what the hosted API refuses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Literal, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils import from_env, secret_from_env
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from deepseek_apps.chat import calls, setup
from deepseek_apps.chat import profile as profiles
from deepseek_apps.chat.replies import logprobs_of
from deepseek_apps.chat.request import ChatCall, ForcedToolChoice, plan_call
from deepseek_apps.thinking import ReasoningEffort, ThinkingOption, thinking_field
from deepseek_apps.wire import ReasoningEcho, to_wire

__all__ = ["ChatDeepSeek"]


class ChatDeepSeek(BaseChatOpenAI):
    """DeepSeek as a LangChain chat model: on the hosted API, on this machine, or on a server of yours.

    Takes every argument of langchain-deepseek's class of the same name, and these. Construction opens no
    connection and loads no model. Reasoning is kept in `additional_kwargs["reasoning_content"]` (and so in
    `content_blocks`) and sent back with the history; cached and reasoning tokens are in `usage_metadata`;
    who answered, and how a request was changed to be accepted, is in `response_metadata`.

        model = ChatDeepSeek(model="deepseek-flash", thinking=True, reasoning_effort="low")
        model.invoke("Hello").content

    Args:
        model: Model name; without one the backend's own default.
        backend: hosted, local, server, server:NAME, auto, cheapest or private; None takes the configured one.
        base_url: Address of a server, or of the hosted API. Default: DEEPSEEK_API_BASE, if set.
        api_key: Key for that address. Default: DEEPSEEK_API_KEY for the hosted API. No other provider's key
            is ever used.
        thinking: True, False or the API's own form; None leaves it to the model (the hosted ones think).
        reasoning_effort: How much to think, low to max.
        user_id: Isolates cache, safety and scheduling of your users on the hosted API; at most 512 bytes.
        reasoning_echo: Which reasoning goes back with the history: of all turns, of those that called tools
            (both are accepted, the hosted API needs the second), or never.
        forced_tool_choice: What to do when a tool is forced and the model thinks, which the hosted API
            refuses: switch thinking off for that call, or ask for it in words, check, and ask once more.
        deadline: Seconds a whole call may take; `timeout` is the longest silence.

    Raises:
        SettingsError: Something is missing or contradictory; the message says what to do.
        BackendError: While calling; one of langchain_errors.py, which are LangChain's and the openai SDK's
        too.
    """

    model_config = ConfigDict(populate_by_name=True)

    model_name: str = Field(default="", alias="model")
    api_key: SecretStr | None = Field(default_factory=secret_from_env("DEEPSEEK_API_KEY", default=None))
    api_base: str | None = Field(
        default_factory=from_env("DEEPSEEK_API_BASE", default=None), alias="base_url"
    )
    backend: str | None = None
    thinking: ThinkingOption | None = None
    reasoning_effort: ReasoningEffort | None = None
    user_id: str | None = None
    reasoning_echo: ReasoningEcho = "all"
    forced_tool_choice: ForcedToolChoice = "disable_thinking"
    deadline: float | None = Field(default=None, gt=0)
    # The base would fill these from OPENAI_* variables.
    openai_api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    openai_api_base: str | None = Field(default=None, exclude=True, repr=False)
    openai_organization: str | None = Field(default=None, exclude=True, repr=False)
    openai_proxy: str | None = Field(default=None, exclude=True, repr=False)

    @field_validator("thinking", mode="before")
    @classmethod
    def _check_thinking(cls, value: Any) -> Any:
        thinking_field(value)  # before pydantic, which has three complaints about one mistake
        return value

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Check the parameters and make the clients. Replaces the base's, which reads OPENAI_* variables."""
        setup.check_parameters(self)
        setup.make_clients(self)
        if self.profile is None:  # the base asks for it before there are clients
            self.profile = profiles.profile(self)
        return self

    @property
    def _llm_type(self) -> str:
        return "chat-deepseek"

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Name of the variable that holds the key; the key itself is never serialised."""
        return {"api_key": "DEEPSEEK_API_KEY"}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True: models can be saved with LangChain's `dumpd` and loaded again.

        `load` has to be told: `allowed_objects=[ChatDeepSeek], valid_namespaces=["deepseek_apps"]`.
        """
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Return where `load` finds the class."""
        return ["deepseek_apps", "chat_model"]

    @property
    def _default_params(self) -> dict[str, Any]:
        return setup.default_parameters(self)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, **setup.backend_identity(self), **self._default_params}

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # Part of the cache's key: the same parameters at another backend are another answer.
        return f"{setup.backend_identity(self)} {super()._get_llm_string(stop, **kwargs)}"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        parameters = super()._get_ls_params(stop=stop, **kwargs)
        parameters["ls_provider"] = "deepseek"
        if not parameters.get("ls_model_name"):
            parameters["ls_model_name"] = setup.backend_identity(self)["model"]
        return parameters

    def _use_responses_api(self, payload: dict[str, Any]) -> bool:
        del payload
        return False

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return body and options of one call; without the model's name where only the backend knows it."""
        body = {**self._default_params, **kwargs}
        if stop is not None:
            body["stop"] = stop
        if body.get("thinking") is not None:
            body["thinking"] = thinking_field(body["thinking"])
        if tools := body.get("tools"):
            body["tools"] = setup.wire_tools(tools)
        body["messages"] = to_wire(
            self._convert_input(input_).to_messages(),
            reasoning=self.reasoning_echo,
            images=profiles.takes_images(self, body.get("model", "")),
            model=body.get("model", ""),
        )
        return body

    def _plan(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> ChatCall:
        return plan_call(self._get_request_payload(messages, stop=stop, **kwargs), self.forced_tool_choice)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        return calls.generate(self, self._plan(messages, stop, kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        return await calls.agenerate(self, self._plan(messages, stop, kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        kwargs = setup.streamed(self, kwargs, stream_usage=stream_usage)
        for chunk in calls.stream(self, self._plan(messages, stop, kwargs)):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk, logprobs=logprobs_of(chunk))
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        kwargs = setup.streamed(self, kwargs, stream_usage=stream_usage)
        async with aclosing(calls.astream(self, self._plan(messages, stop, kwargs))) as chunks:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk, logprobs=logprobs_of(chunk))
                yield chunk

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools, as the base does.

        Args:
            tools: Functions, classes, LangChain tools or schemas.
            tool_choice: "auto", "none", "any", a tool's name, or the API's own form.
            strict: Hold arguments to the schema. Schemas are made acceptable to the API, and the request
                goes to its beta address.
            kwargs: Bound to every call.
        """
        if kwargs.get("response_format") and strict is None:
            # The base makes tools strict beside a schema, which OpenAI needs and DeepSeek does not.
            strict = False
        bound = super().bind_tools(tools, tool_choice=tool_choice, strict=strict, **kwargs)
        return setup.strictly(bound) if strict else bound

    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that answers in the schema's form, checked, and repaired once if it has to be.

        Args:
            schema: A pydantic class (its instance is returned), a TypedDict or a JSON schema (a dict is
                returned).
            method: "json_schema" is constrained decoding where the backend has it, and otherwise JSON mode
                with the schema in the prompt; "json_mode" leaves the schema to your prompt;
                "function_calling" forces a tool.
            include_raw: Return {"raw", "parsed", "parsing_error"} instead of raising.
            strict: For function_calling, see `bind_tools`.
            kwargs: Bound to every call.

        Raises:
            StructuredOutputInvalidError: While calling: the answer does not fit, after one repair.
        """
        from deepseek_apps.structured import structured_output  # noqa: PLC0415  only needed here

        return structured_output(
            self,
            schema,
            method=method,
            include_raw=include_raw,
            strict=strict,
            native_json_schema=True,  # where it is not, our transport puts the schema into the prompt
            **kwargs,
        )

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text, from the model's own tokenizer, offline."""
        return setup.token_ids(self, text)

    def get_num_tokens_from_messages(
        self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None, **kwargs: Any
    ) -> int:
        """Count the prompt's tokens as the API would, markup and tools included, offline."""
        if tools:
            kwargs["tools"] = cast(Any, self.bind_tools(tools)).kwargs["tools"]
        call = self._plan(list(messages), None, kwargs)
        return setup.count_tokens(self, call.body)
