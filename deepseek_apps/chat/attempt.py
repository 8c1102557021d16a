"""One streamed answer of ChatDeepSeek: chunks as they come, and what they amount to when it has ended.

No I/O: `chat/calls.py` gets the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatGenerationChunk

from deepseek_apps.chat.replies import as_answer, check_called, check_finish, reply_metadata
from deepseek_apps.chat.request import ChatCall
from deepseek_apps.wire import ChunkReader

if TYPE_CHECKING:
    from deepseek_apps.chat_model import ChatDeepSeek

__all__ = ["Attempt"]


class Attempt:
    """Reads the events of one stream.

    Where a call was only asked for in words, all but reasoning is held back until that call begins. If it
    never does, the text is dropped, because a second attempt follows in the same stream: together they then
    fold to what the whole reply says.

    Args:
        model: Who asks.
        call: What was asked.
    """

    def __init__(self, model: ChatDeepSeek, call: ChatCall) -> None:
        self.call = call
        self._model = model
        self._reader = ChunkReader(tools_declared=call.has_tools)
        self._metadata: dict[str, Any] = {}
        self._said: list[AIMessageChunk] = []
        self._held: list[AIMessageChunk] = []
        self._waits = call.must_call is not None

    def start(self, headers: Mapping[str, str]) -> None:
        """Take the reply's headers."""
        self._metadata = reply_metadata(self._model, self.call, headers)

    def read(self, event: Mapping[str, Any]) -> Iterator[ChatGenerationChunk]:
        """Give the chunks for one event."""
        for message in self._reader.read(event):
            yield from self._pass_on(message)

    def finish(self) -> Iterator[ChatGenerationChunk]:
        """Give what is left when the stream has ended.

        Raises:
            OverloadedError: The backend gave the answer up half-way.
        """
        for message in self._reader.finish():
            yield from self._pass_on(message)
        check_finish(self._message())
        if self._waits and (usage := self._message().usage_metadata):
            yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage))

    def missed(self) -> bool:
        """Whether the stream has ended without the call that it had to make."""
        return self._waits

    def again(self) -> Attempt:
        """Return the second attempt."""
        return Attempt(self._model, self.call.again(as_answer(self._message())))

    def check(self) -> None:
        """Raise OutputError if the call was not made."""
        if self._waits:
            check_called(self.call, self._message())

    def _pass_on(self, message: AIMessageChunk) -> Iterator[ChatGenerationChunk]:
        self._said.append(message)
        if self._waits and self.call.misses([part["name"] or "" for part in message.tool_call_chunks]):
            if "reasoning_content" in message.additional_kwargs and not message.content:
                yield ChatGenerationChunk(message=message)
            else:
                self._held.append(message)
            return
        self._waits = False
        for each in (*self._held, message):
            yield self._generation(each)
        self._held.clear()

    def _generation(self, message: AIMessageChunk) -> ChatGenerationChunk:
        if self._metadata:  # on one chunk alone, because merged chunks join equal texts
            message.response_metadata.update(self._metadata)
            self._metadata = {}
        return ChatGenerationChunk(message=message)

    def _message(self) -> AIMessageChunk:
        return add_ai_message_chunks(AIMessageChunk(content=""), *self._said)
