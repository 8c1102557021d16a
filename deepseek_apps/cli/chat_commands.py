"""The slash commands of `chat`: a table of names, help texts and functions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_apps.cli.failure import UsageError

if TYPE_CHECKING:
    from deepseek_apps.cli.chat_session import ChatSession
    from deepseek_apps.cli.render import Output

__all__ = ["COMMANDS", "LeaveChat", "find_command", "transcript"]


class LeaveChat(Exception):  # noqa: N818  a signal, not an error
    """The user asked to leave."""


@dataclass(frozen=True, slots=True)
class Command:
    """One slash command: how it is written, what it does, and the function that does it."""

    usage: str
    help: str
    run: Callable[[ChatSession, Output, str], None]


def find_command(text: str) -> tuple[Command, str] | None:
    """Return the command a line calls, with its argument; None when the line is a message.

    Only `/word` is a command: a path such as /etc/hosts, or a line that starts with a blank, is a message.

    Raises:
        UsageError: `/word` names no command.
    """
    match = re.fullmatch(r"/([A-Za-z]*)(?:\s+(.*))?", text, re.DOTALL)
    if match is None:
        return None
    name, argument = match[1].lower(), (match[2] or "").strip()
    if name not in COMMANDS:
        raise UsageError(
            f"there is no command /{name}",
            help_message="/help lists the commands; put a blank before the slash to send it as text.",
        )
    return COMMANDS[name], argument


def transcript(session: ChatSession, *, as_json: bool) -> str:
    """Return the conversation as Markdown, or as a JSON object with its messages in wire form."""
    if as_json:
        fields = {"id": session.conversation.id, "messages": session.messages()}
        return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"
    system = session.conversation.system
    parts = [
        f"# {session.conversation.title or 'Conversation'}",
        *([f"## System\n\n{system}"] if system else []),
    ]
    for turn in session.turns:
        mark = " (interrupted)" if turn.partial else ""
        parts += [f"## You\n\n{turn.question}", f"## {turn.model or 'Model'}{mark}\n\n{turn.answer}"]
    return "\n\n".join(parts) + "\n"


def _help(session: ChatSession, out: Output, argument: str) -> None:
    del session, argument
    for command in COMMANDS.values():
        out.note(f"{command.usage:<16} {command.help}")
    out.note('More than one line: end a line with \\, or put the text between """ and """.')


def _save(session: ChatSession, out: Output, argument: str) -> None:
    if not argument:
        raise UsageError("/save needs a file name", help_message="For example: /save talk.md (or .json)")
    path = Path(argument).expanduser()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(transcript(session, as_json=path.suffix == ".json"))
    except FileExistsError as error:
        raise UsageError(f"{path} exists already", help_message="Give another name.") from error
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", help_message="Give another path."
        ) from error
    out.note(f"saved to {path}")


def _clear(session: ChatSession, out: Output, argument: str) -> None:
    del argument
    session.start_over()
    out.note("a new conversation begins; the old one is kept (deepseek-apps chat --list)")


def _system(session: ChatSession, out: Output, argument: str) -> None:
    if argument:
        session.set_system("" if argument == "-" else argument)
    out.note(f"system prompt: {session.conversation.system or '(none)'}")


def _retry(session: ChatSession, out: Output, argument: str) -> None:
    del out, argument
    session.retry()


def _history(session: ChatSession, out: Output, argument: str) -> None:
    del argument
    out.note(f"conversation {session.conversation.id}: {len(session.turns)} turns")
    for number, turn in enumerate(session.turns, start=1):
        question = " ".join(turn.question.split())[:60]
        out.note(f"{number:>3}  {question}{'  (interrupted)' if turn.partial else ''}")


def _exit(session: ChatSession, out: Output, argument: str) -> None:
    del session, out, argument
    raise LeaveChat


COMMANDS: dict[str, Command] = {
    "help": Command("/help", "this list", _help),
    "history": Command("/history", "the turns of this conversation", _history),
    "retry": Command("/retry", "ask the last question again, replacing its answer", _retry),
    "system": Command("/system [TEXT]", "show or set the system prompt; - removes it", _system),
    "save": Command("/save FILE", "write the conversation to a new .md or .json file", _save),
    "clear": Command("/clear", "begin a new conversation", _clear),
    "exit": Command("/exit", "leave (so does Ctrl-D)", _exit),
}
