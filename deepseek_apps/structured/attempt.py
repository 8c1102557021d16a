"""One structured output in the making: replies come in, what is known of the result comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables.utils import AddableDict

from deepseek_apps.errors import StructuredOutputInvalidError
from deepseek_apps.structured.json_text import partial_object
from deepseek_apps.structured.plan import Plan, UnfitReplyError

__all__ = ["Attempt", "ChatStructuredOutputInvalidError", "Growth"]


class ChatStructuredOutputInvalidError(StructuredOutputInvalidError, OutputParserException):
    """The answer does not fit, after one repair; ours and LangChain's, so that its retry logic knows it.

    Attributes:
        output: The last answer, as it came; LangChain's name for it is `llm_output`.
    """

    def __init__(self, message: str, *, output: str = "", help_message: str = "") -> None:
        super().__init__(message, output=output, help_message=help_message)
        self.args = (message,)  # without the link to LangChain's pages, which say nothing about ours
        self.llm_output = output


class Attempt:
    """Judges a first reply and, if there must be one, a second.

    Args:
        plan: How to judge.
        asked: The messages that were answered.
        reply: The first reply.
    """

    def __init__(self, plan: Plan, asked: Sequence[BaseMessage], reply: AIMessage) -> None:
        self._plan = plan
        self._asked = asked
        self._repaired_from: UnfitReplyError | None = None
        self._judge(reply)

    @property
    def repairable(self) -> bool:
        """Whether the reply does not fit and a second one may."""
        return self._fault is not None and self._fault.repairable and self._repaired_from is None

    @property
    def repaired(self) -> bool:
        """Whether there was a second reply."""
        return self._repaired_from is not None

    def question(self) -> list[BaseMessage]:
        """Return the messages that ask for the second reply."""
        assert self._fault is not None, "nothing to repair"
        return self._plan.ask_again(self._asked, self._reply, self._fault)

    def mend(self, reply: AIMessage) -> None:
        """Take the second reply in the first one's place."""
        self._repaired_from = self._fault
        self._judge(reply)

    @property
    def note(self) -> dict[str, Any]:
        """How the result came about, for `response_metadata["structured_output"]`."""
        note: dict[str, Any] = {"method": self._plan.method, "repaired": self.repaired}
        first = self._repaired_from
        return note if first is None else note | {"first_error": _to_the_caller(first)}

    @property
    def raw(self) -> AIMessage:
        """The reply that counts, with the note."""
        metadata = {**self._reply.response_metadata, "structured_output": self.note}
        return self._reply.model_copy(update={"response_metadata": metadata})

    @property
    def error(self) -> ChatStructuredOutputInvalidError | None:
        """Why there is no value, None if there is one."""
        fault = self._fault
        if fault is None:
            return None
        return ChatStructuredOutputInvalidError(
            _to_the_caller(fault), output=fault.output, help_message=fault.help_message
        )

    def result(self, *, include_raw: bool) -> Any:
        """Return what the runnable gives.

        Raises:
            ChatStructuredOutputInvalidError: There is no value, and include_raw is off.
        """
        if include_raw:
            return {"raw": self.raw, "parsed": self._value, "parsing_error": self.error}
        if error := self.error:
            raise error
        return self._value

    def _judge(self, reply: AIMessage) -> None:
        self._reply, self._value, self._fault = reply, None, None
        try:
            self._value = self._plan.judge(reply)
        except UnfitReplyError as fault:
            self._fault = fault


class Growth:
    """A streamed reply: shows dicts as they grow, and folds the chunks into the message at the end.

    Args:
        plan: What is being answered.
        include_raw: Whether chunks are shown as they are, beside the value.
    """

    def __init__(self, plan: Plan, *, include_raw: bool) -> None:
        self._plan = plan
        self._include_raw = include_raw
        self._chunks: list[AIMessageChunk] = []
        self._text = ""
        self._shown: Any = None
        self._call_index: int | None = None

    def push(self, chunk: AIMessage) -> Iterator[Any]:
        """Take a chunk; give what is new."""
        if not isinstance(chunk, AIMessageChunk):  # a model that cannot stream gives one whole message
            chunk = AIMessageChunk.model_validate(chunk.model_dump(exclude={"type"}))
        self._chunks.append(chunk)
        if self._include_raw:
            yield _Part(raw=chunk)
        new = self._new_text(chunk)
        if not new or not self._plan.gives_dicts:
            return
        self._text += new
        partial = partial_object(self._text)
        if partial is not None and partial != self._shown:
            yield self._show(partial)

    def message(self) -> AIMessage:
        """Return the whole reply."""
        if not self._chunks:
            return AIMessage("")
        first, *others = self._chunks
        return first + others if others else first

    def rest(self, attempt: Attempt) -> Iterator[Any]:
        """Give what is left to say, once the result is known.

        The parts of an `include_raw` stream add up to the result of `invoke`: after a repair, the second
        message replaces the chunks of the first, which it does because it is no chunk itself.

        Raises:
            ChatStructuredOutputInvalidError: There is no value, and include_raw is off.
        """
        result = attempt.result(include_raw=self._include_raw)
        if self._include_raw:
            note = AIMessageChunk(content="", response_metadata={"structured_output": attempt.note})
            yield _Part(result | {"raw": attempt.raw if attempt.repaired else note})
        elif result != self._shown or self._shown is None:
            yield result

    def _show(self, partial: dict[str, Any]) -> Any:
        self._shown = partial
        return _Part(parsed=partial) if self._include_raw else partial

    def _new_text(self, chunk: AIMessageChunk) -> str:
        if self._plan.method != "function_calling":
            return str(chunk.text)
        calls = chunk.tool_call_chunks
        if calls and self._call_index is None:  # models number calls from where they like
            self._call_index = calls[0]["index"]
        return "".join(call["args"] or "" for call in calls if call["index"] == self._call_index)


class _Part(AddableDict):
    """A part of an `include_raw` stream. Parts add up: chunks are joined, and all else is replaced."""

    def __add__(self, other: AddableDict) -> _Part:
        """Return what is known after both."""
        joined = _Part({**self, **other})
        mine, its = self.get("raw"), other.get("raw")
        if isinstance(mine, AIMessageChunk) and isinstance(its, AIMessageChunk):
            joined["raw"] = mine + its
        return joined


def _to_the_caller(fault: UnfitReplyError) -> str:
    """Turn what the model is told into what the caller is told."""
    return str(fault).replace("Your reply", "The answer", 1).removesuffix("; be shorter.").rstrip(".")
