"""Structured output that works on every backend: ask, check, and mend once.

Where the backend enforces a schema (the embedded engine), it is told to. The hosted chat API only knows "some
JSON object": there the schema goes into the prompt, the answer is validated, and one that does not fit goes
back with the exact errors, once. Works with any LangChain chat model that takes what is bound to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import patch_config

from deepseek_apps.errors import SettingsError
from deepseek_apps.structured.attempt import Attempt, ChatStructuredOutputInvalidError, Growth
from deepseek_apps.structured.plan import Method, Plan
from deepseek_apps.structured.schema import output_schema
from deepseek_apps.structured.send import bound_model

__all__ = ["ChatStructuredOutputInvalidError", "Method", "StructuredOutput", "structured_output"]

# The callback tag of a second call, for traces.
REPAIR_TAG = "structured:repair"


def structured_output(
    model: BaseChatModel,
    schema: Any = None,
    *,
    method: Method = "json_schema",
    include_raw: bool = False,
    strict: bool | None = None,
    native_json_schema: bool = False,
    repair: bool = True,
    **bind: Any,
) -> Runnable[LanguageModelInput, Any]:
    """Return a runnable whose output fits a schema.

    Args:
        model: The chat model. Whether it thinks is its own affair; thinking stays on with every method.
        schema: A pydantic class (the output is an instance), or a TypedDict, a JSON Schema or an OpenAI
            function (the output is a dict). None, with "json_mode" only, is any JSON object.
        method: "json_schema" is enforced by the backend or written into the prompt; "json_mode" leaves the
            description to the caller's prompt; "function_calling" forces one tool.
        include_raw: Give `{"raw": message, "parsed": output or None, "parsing_error": error or None}`, where
            `raw.response_metadata["structured_output"]` says how it came about.
        strict: Have the backend enforce the schema exactly, which allows no optional fields; None leaves it
            to the backend.
        native_json_schema: The backend takes `response_format` of type "json_schema".
        repair: Send an answer that does not fit back, once, before giving up.
        **bind: Bound to the model as they are, such as `tools`.

    Returns:
        A runnable that raises ChatStructuredOutputInvalidError if even the repaired answer does not fit.
        Streamed, dicts come as they grow and end with the validated one; instances come whole.

    Raises:
        SettingsError: The schema or the method is unknown, or a schema is missing.
    """
    if method not in ("json_schema", "json_mode", "function_calling"):
        raise SettingsError(
            f"unknown method of structured output: {method!r}",
            help_message='Use "json_schema", "json_mode" or "function_calling".',
        )
    if schema is None and method != "json_mode":
        raise SettingsError(
            f"the method {method!r} needs a schema", help_message='Give one, or use method="json_mode".'
        )
    wanted = None if schema is None else output_schema(schema)
    plan = Plan(
        method=method,
        schema=wanted,
        native=native_json_schema and method == "json_schema",
        tools_bound=bool(bind.get("tools")),
    )
    bound = bound_model(model, plan, strict, bind)
    return StructuredOutput(bound, plan, include_raw=include_raw, repair=repair)


class StructuredOutput(Runnable[LanguageModelInput, Any]):
    """A model, a plan, and at most two calls; see `structured_output`.

    Args:
        model: The model with everything bound that the plan needs.
        plan: What to ask and how to judge.
        include_raw: Whether the message is given beside the value.
        repair: Whether to ask a second time.
    """

    def __init__(
        self,
        model: Runnable[LanguageModelInput, AIMessage],
        plan: Plan,
        *,
        include_raw: bool = False,
        repair: bool = True,
    ) -> None:
        self.model = model
        self.plan = plan
        self.include_raw = include_raw
        self.repair = repair

    @property
    def OutputType(self) -> Any:  # noqa: N802  (LangChain's name)
        """What comes out."""
        instances = self.plan.schema is not None and self.plan.schema.gives_instances
        return self.plan.schema.source if instances and self.plan.schema and not self.include_raw else dict

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Ask once, and once more if need be; see `structured_output`."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Ask once, and once more if need be; see `structured_output`."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> Iterator[Any]:
        """Yield the output as it grows (dicts) or whole (instances)."""
        yield from self._transform_stream_with_config(iter([input]), self._stream, config, **kwargs)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> AsyncIterator[Any]:
        """Yield the output as it grows (dicts) or whole (instances)."""
        async for part in self._atransform_stream_with_config(_once(input), self._astream, config, **kwargs):
            yield part

    def _invoke(
        self,
        input_: LanguageModelInput,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        asked = self.plan.ask(_messages(input_))
        attempt = Attempt(self.plan, asked, self.model.invoke(asked, config, **kwargs))
        if self.repair and attempt.repairable:
            again = patch_config(config, callbacks=run_manager.get_child(REPAIR_TAG))
            attempt.mend(self.model.invoke(attempt.question(), again, **kwargs))
        return attempt.result(include_raw=self.include_raw)

    async def _ainvoke(
        self,
        input_: LanguageModelInput,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        asked = self.plan.ask(_messages(input_))
        attempt = Attempt(self.plan, asked, await self.model.ainvoke(asked, config, **kwargs))
        if self.repair and attempt.repairable:
            again = patch_config(config, callbacks=run_manager.get_child(REPAIR_TAG))
            attempt.mend(await self.model.ainvoke(attempt.question(), again, **kwargs))
        return attempt.result(include_raw=self.include_raw)

    def _stream(
        self,
        inputs: Iterator[LanguageModelInput],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Any]:
        asked = self.plan.ask(_messages(next(inputs)))
        growth = Growth(self.plan, include_raw=self.include_raw)
        for chunk in self.model.stream(asked, config, **kwargs):
            yield from growth.push(chunk)
        attempt = Attempt(self.plan, asked, growth.message())
        if self.repair and attempt.repairable:
            again = patch_config(config, callbacks=run_manager.get_child(REPAIR_TAG))
            attempt.mend(self.model.invoke(attempt.question(), again, **kwargs))
        yield from growth.rest(attempt)

    async def _astream(
        self,
        inputs: AsyncIterator[LanguageModelInput],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        asked = self.plan.ask(_messages(await anext(inputs)))
        growth = Growth(self.plan, include_raw=self.include_raw)
        async for chunk in self.model.astream(asked, config, **kwargs):
            for part in growth.push(chunk):
                yield part
        attempt = Attempt(self.plan, asked, growth.message())
        if self.repair and attempt.repairable:
            again = patch_config(config, callbacks=run_manager.get_child(REPAIR_TAG))
            attempt.mend(await self.model.ainvoke(attempt.question(), again, **kwargs))
        for part in growth.rest(attempt):
            yield part


def _messages(input_: LanguageModelInput) -> list[BaseMessage]:
    if isinstance(input_, str):
        return [HumanMessage(input_)]
    return input_.to_messages() if isinstance(input_, PromptValue) else convert_to_messages(input_)


async def _once(value: LanguageModelInput) -> AsyncIterator[LanguageModelInput]:
    yield value
