"""The rules of structured output as pure functions: what is asked, whether a reply will do, how to ask again.

Nothing here calls a model; structured.py does, sync and async, with these.

**Where the schema goes.** Where the backend does not enforce it, the schema is written at the end of the
system part. DeepSeek caches prompts from the first token on, and JSON mode itself adds a sentence at that
place: what comes before (instructions) stays cached, and so does the whole conversation from one call with
the schema to the next. It is joined to the last system message: many servers' templates take only one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.content import create_text_block

from deepseek_apps._token_counts import TokenCounts
from deepseek_apps.structured.json_text import find_json
from deepseek_apps.structured.schema import MisfitError, OutputSchema

__all__ = ["Method", "Plan", "UnfitReplyError"]

Method = Literal["json_schema", "json_mode", "function_calling"]

_FOLLOW_SCHEMA = "Answer with one JSON object that follows this JSON Schema, and with nothing else:\n{schema}"
_ANSWER_JSON = "Answer with one JSON object and nothing else."
_AGAIN = "{reason}\n\nAnswer again with the whole, corrected JSON object and nothing else."
_CALL_AGAIN = "{reason}\n\nCall {name} again, with arguments that follow its schema."
_MORE_TOKENS = "Raise max_tokens."
_LESS_THINKING = (
    'Raise max_tokens, lower reasoning_effort, or switch thinking off (thinking={"type": "disabled"}).'
)


class UnfitReplyError(Exception):
    """A reply that is not what was asked for.

    Attributes:
        output: What there was, as text.
        help_message: The next step for the caller.
        repairable: Whether telling the model may help.
    """

    def __init__(self, reason: str, output: str, *, help_message: str = "", repairable: bool = True) -> None:
        super().__init__(reason)
        self.output = output
        self.help_message = help_message
        self.repairable = repairable


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one structured output is asked for and judged.

    Attributes:
        method: How it is asked for.
        schema: What is asked for; None is any JSON object.
        native: The backend enforces the schema.
        tools_bound: The model may also call tools of the caller's; a reply that does has no value.
    """

    method: Method
    schema: OutputSchema | None
    native: bool = False
    tools_bound: bool = False

    @property
    def gives_dicts(self) -> bool:
        """Whether results are dicts, which can be shown while they grow."""
        return self.schema is None or not self.schema.gives_instances

    def ask(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return the messages to send first."""
        if self.method == "function_calling" or self.native:
            return list(messages)
        if self.method == "json_schema" and self.schema is not None:
            return _with_system(messages, _FOLLOW_SCHEMA.format(schema=self._schema_text()))
        # The hosted API refuses JSON mode unless the prompt has the word, in any case.
        if any("json" in message.text.lower() for message in messages):
            return list(messages)
        return _with_system(messages, _ANSWER_JSON)

    def judge(self, reply: AIMessage) -> Any:
        """Return the value of a reply.

        Raises:
            UnfitReplyError: It has none.
        """
        output, calls = self.output(reply), reply.tool_calls
        if self.method != "function_calling" and self.tools_bound and calls:
            return None
        finish = reply.response_metadata.get("finish_reason")
        if finish == "content_filter":
            raise UnfitReplyError(
                "The answer was withheld by the content filter.",
                output,
                repairable=False,
                help_message="Change the prompt; the same one is filtered again.",
            )
        if not output.strip():
            raise _no_answer(reply, finish)
        try:
            value = find_json(output)
        except ValueError as error:
            raise _not_json(error, output, finish) from None
        return self._fitting(value, output)

    def ask_again(
        self, asked: Sequence[BaseMessage], reply: AIMessage, fault: UnfitReplyError
    ) -> list[BaseMessage]:
        """Return the messages of the repair round: what was asked, the reply, and what is wrong with it."""
        if self.method == "function_calling" and self.schema is not None:
            complaint = _CALL_AGAIN.format(reason=fault, name=self.schema.name)
            calls = [*reply.tool_calls, *reply.invalid_tool_calls]
            if calls and all(call.get("id") for call in calls):
                results = [
                    ToolMessage(complaint, tool_call_id=str(call["id"]), status="error") for call in calls
                ]
                return [*asked, reply, *results]
        else:
            complaint = _AGAIN.format(reason=fault)
            if self.method == "json_mode" and self.schema is not None:  # until now the model has not seen it
                complaint += f" It must follow this JSON Schema:\n{self._schema_text()}"
        # An empty reply says nothing that the model could mend, and some servers refuse an empty message.
        return [*asked, *([reply] if reply.text.strip() else []), HumanMessage(complaint)]

    def output(self, reply: AIMessage) -> str:
        """Return what a reply says: the arguments of its call, or its text."""
        if self.method == "function_calling" and self.schema is not None:
            for call in reply.tool_calls:
                if call["name"] == self.schema.name:
                    return json.dumps(call["args"], ensure_ascii=False)
            for broken in reply.invalid_tool_calls:
                return broken.get("args") or ""
        return str(reply.text)

    def _fitting(self, value: Any, output: str) -> Any:
        if self.schema is None:
            if isinstance(value, dict):
                return value
            raise UnfitReplyError("Your reply is JSON, but not an object.", output)
        try:
            return self.schema.parse(value)
        except MisfitError as misfit:
            faults = "\n".join(f"- {fault}" for fault in misfit.faults)
            raise UnfitReplyError(
                f"Your reply does not follow the schema {self.schema.name!r}:\n{faults}",
                output,
                help_message="Describe the fields in the schema or the prompt, or use a larger model.",
            ) from None

    def _schema_text(self) -> str:
        return "" if self.schema is None else json.dumps(self.schema.json_schema, ensure_ascii=False)


def _no_answer(reply: AIMessage, finish: str | None) -> UnfitReplyError:
    if finish != "length":
        return UnfitReplyError("Your reply was empty.", "", help_message="Ask again, or change the prompt.")
    counts = TokenCounts.from_usage(reply.usage_metadata or {})
    spent = f" ({counts.reasoning} of {counts.output} tokens were reasoning)" if counts.reasoning else ""
    return UnfitReplyError(
        f"The answer was cut at max_tokens before it began{spent}.",
        "",
        help_message=_LESS_THINKING,
        repairable=False,  # a second round thinks as long, and is paid for as well
    )


def _not_json(error: ValueError, output: str, finish: str | None) -> UnfitReplyError:
    if finish == "length":
        return UnfitReplyError(
            "Your reply was cut at max_tokens before the JSON was complete; be shorter.",
            output,
            help_message=_MORE_TOKENS,
        )
    return UnfitReplyError(
        f"Your reply is not a JSON object: {error}.", output, help_message="Use a larger model."
    )


def _with_system(messages: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
    """Put a text at the end of the leading system messages."""
    count = next((i for i, m in enumerate(messages) if not isinstance(m, SystemMessage)), len(messages))
    if count == 0:
        return [SystemMessage(text), *messages]
    last = messages[count - 1]
    content = last.content
    joined: Any = (
        f"{content}\n\n{text}" if isinstance(content, str) else [*content, dict(create_text_block(text))]
    )
    return [*messages[: count - 1], last.model_copy(update={"content": joined}), *messages[count:]]
