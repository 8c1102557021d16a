"""`chat` driven through piped stdin: turns, commands, the history, and what an interruption leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_server import Reply, ScriptedServer, scripted_server

from deepseek_apps.cli.chat_commands import COMMANDS, find_command
from deepseek_apps.cli.failure import UsageError
from deepseek_apps.history import History


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def chat(cli, server):
    return lambda *arguments, stdin="": cli("chat", "--base-url", server.url, *arguments, stdin=stdin)


def sent_messages(server: ScriptedServer) -> list[list[dict[str, str]]]:
    return [request["messages"] for request in server.requests]


def test_turns_follow_each_other(chat, server) -> None:
    server.replies = [Reply(content=["one"], reasoning=["why"]), Reply(content=["two"])]
    result = chat("-s", "be brief", stdin="first\n\nsecond\n")
    assert (result.code, result.out, result.err) == (0, "one\ntwo\n", "why\n")
    assert sent_messages(server)[1] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "one", "reasoning_content": "why"},
        {"role": "user", "content": "second"},
    ]


@pytest.mark.parametrize("how", ["--continue", "--id"])
def test_a_conversation_goes_on_in_another_process(chat, server, how) -> None:
    chat(stdin="first\n")
    with History() as history:
        extra = () if how == "--continue" else (history.latest().id[:6],)
    chat(how, *extra, stdin="second\n")
    assert [message["content"] for message in sent_messages(server)[1]] == ["first", "Hello.", "second"]
    with History() as history:
        assert len(history.turns(history.latest())) == 2


def test_a_new_chat_starts_afresh(chat, server) -> None:
    chat(stdin="first\n")
    chat(stdin="second\n")
    assert [message["content"] for message in sent_messages(server)[1]] == ["second"]


def test_retry_replaces_the_answer(chat, server) -> None:
    server.replies = [Reply(content=["bad"]), Reply(content=["good"])]
    chat(stdin="question\n/retry\n")
    assert sent_messages(server)[0] == sent_messages(server)[1]
    with History() as history:
        assert [turn.answer for turn in history.turns(history.latest())] == ["good"]


def test_a_failed_retry_keeps_the_answer(chat, server) -> None:
    server.replies = [Reply(content=["first"]), Reply(status=400, error="no")]
    assert chat(stdin="question\n/retry\n").code == 1
    with History() as history:
        assert [turn.answer for turn in history.turns(history.latest())] == ["first"]


def test_clear_keeps_the_old_conversation(chat, server) -> None:
    chat("-s", "system", stdin="first\n/clear\nsecond\n")
    assert [message["content"] for message in sent_messages(server)[1]] == ["system", "second"]
    with History() as history:
        assert [item.title for item in history.recent()] == ["second", "first"]


def test_the_system_prompt_can_change(chat, server) -> None:
    result = chat(stdin="/system be kind\nfirst\n/system -\nsecond\n")
    assert "system prompt: be kind" in result.err
    assert [messages[0]["role"] for messages in sent_messages(server)] == ["system", "user"]


def test_exit_ends_before_the_rest(chat, server) -> None:
    assert chat(stdin="/exit\nnever\n").code == 0
    assert server.requests == []


def test_help_names_every_command(chat) -> None:
    help_text = chat(stdin="/help\n").err
    assert all(command.usage in help_text for command in COMMANDS.values())


def test_save_writes_markdown_or_json(chat, tmp_path: Path) -> None:
    markdown, as_json = tmp_path / "talk.md", tmp_path / "talk.json"
    chat(stdin=f"第一\n/save {markdown}\n/save {as_json}\n")
    assert markdown.read_text(encoding="utf-8") == "# 第一\n\n## You\n\n第一\n\n## scripted\n\nHello.\n"
    assert json.loads(as_json.read_text(encoding="utf-8"))["messages"][1]["content"] == "Hello."


def test_save_overwrites_nothing(chat, tmp_path: Path) -> None:
    (tmp_path / "talk.md").write_text("mine")
    result = chat(stdin=f"/save {tmp_path}/talk.md\n")
    assert result.code == 2
    assert "exists already" in result.err
    assert (tmp_path / "talk.md").read_text() == "mine"


def test_an_answer_that_breaks_off_is_kept_as_partial(chat, server) -> None:
    server.replies = [Reply(content=["half"], finish_reason=None)]
    assert chat(stdin="question\nnever sent\n").code == 1
    with History() as history:
        (turn,) = history.turns(history.latest())
    assert (turn.answer, turn.partial) == ("half", True)
    assert "question  (interrupted)" in chat("-c", stdin="/history\n").err


def test_nothing_is_kept_of_a_refused_question(chat, server) -> None:
    server.replies = [Reply(status=401, error="no key")]
    assert chat(stdin="question\n").code == 3
    assert chat("-c").code == 2


def test_blocks_are_never_commands(chat, server) -> None:
    chat(stdin='"""\n/exit\n"""\n/etc/hosts is what?\n')
    assert [messages[-1]["content"] for messages in sent_messages(server)] == ["/exit", "/etc/hosts is what?"]


def test_list_shows_what_can_be_continued(chat) -> None:
    chat(stdin="first question\n")
    assert "first question" in chat("--list").out


@pytest.mark.parametrize("text", ["hello", "/etc/hosts", " /exit", "/two/words", "1/2"])
def test_what_is_no_command(text) -> None:
    assert find_command(text) is None


def test_unknown_commands_are_refused() -> None:
    with pytest.raises(UsageError, match="no command /quit"):
        find_command("/quit now")
