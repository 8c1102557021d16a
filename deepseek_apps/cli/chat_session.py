"""One conversation: what is sent for the next turn, and what is kept of its answer. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deepseek_apps.answer import Answer, AnswerStream, Question
from deepseek_apps.cli.failure import UsageError
from deepseek_apps.history import Conversation, History, Turn

if TYPE_CHECKING:
    from deepseek_apps.backend_client import BackendClient

__all__ = ["ChatSession"]


class ChatSession:
    """A conversation with a model, stored turn by turn.

    Args:
        client: Where to ask.
        history: Where turns are kept.
        conversation: A stored conversation to go on with, or a new one.
        sampling: The Question to copy model and sampling fields from.
        show: Reads an answer to its end, showing it.
    """

    def __init__(
        self,
        *,
        client: BackendClient,
        history: History,
        conversation: Conversation,
        sampling: Question,
        show: Callable[[AnswerStream], None],
    ) -> None:
        self._client = client
        self._history = history
        self._sampling = sampling
        self._show = show
        self.conversation = conversation
        self.turns = history.turns(conversation)

    def send(self, text: str) -> Answer:
        """Ask the next question and keep the answer.

        An answer that is interrupted or breaks off is kept, marked as partial, when any of it arrived; the
        interruption or error goes on to the caller.

        Raises:
            DeepSeekAppsError: The request failed, or the turn cannot be stored.
        """
        return self._send(text, replaces=None)

    def retry(self) -> Answer:
        """Ask the last question again; the new answer replaces the old one once it is there.

        Raises:
            UsageError: Nothing was asked yet.
            DeepSeekAppsError: As in send.
        """
        if not self.turns:
            raise UsageError("there is nothing to retry", help_message="Ask something first.")
        return self._send(self.turns[-1].question, replaces=self.turns[-1])

    def start_over(self) -> None:
        """Begin a new conversation with the same system prompt; the old one stays in the history."""
        self.conversation = Conversation(system=self.conversation.system)
        self.turns = []

    def set_system(self, system: str) -> None:
        """Use another system prompt from the next turn on; empty for none."""
        self.conversation = replace(self.conversation, system=system)

    def messages(self) -> list[dict[str, Any]]:
        """Return the conversation so far in wire form, thinking included."""
        return _messages(self.conversation.system, self.turns)

    def _send(self, text: str, *, replaces: Turn | None) -> Answer:
        earlier = self.turns[:-1] if replaces else self.turns
        messages = [*_messages(self.conversation.system, earlier), {"role": "user", "content": text}]
        with AnswerStream(self._client, replace(self._sampling, messages=messages)) as stream:
            try:
                self._show(stream)
            except BaseException:
                if stream.answer.content or stream.answer.reasoning_content:
                    self._keep(text, stream.answer, partial=True, replaces=replaces)
                raise
        self._keep(text, stream.answer, partial=False, replaces=replaces)
        return stream.answer

    def _keep(self, text: str, answer: Answer, *, partial: bool, replaces: Turn | None) -> None:
        turn = Turn(
            question=text,
            answer=answer.content,
            reasoning_content=answer.reasoning_content,
            partial=partial,
            model=answer.model,
            backend=answer.backend,
        )
        self.conversation, turn = self._history.add_turn(self.conversation, turn, replaces=replaces)
        self.turns = [*(self.turns[:-1] if replaces else self.turns), turn]


def _messages(system: str, turns: list[Turn]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        reply = {"role": "assistant", "content": turn.answer}
        if turn.reasoning_content:
            reply["reasoning_content"] = turn.reasoning_content
        messages += [{"role": "user", "content": turn.question}, reply]
    return messages
