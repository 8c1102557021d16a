"""`ask` against a loopback server: what goes to stdout, what to stderr, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from scripted_server import USAGE, Reply, ScriptedServer, scripted_server


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def ask(cli, server):
    return lambda *arguments, stdin=b"": cli("ask", "--base-url", server.url, *arguments, stdin=stdin)


def test_the_answer_alone_is_on_stdout(ask, server) -> None:
    server.replies = [Reply(reasoning=["hmm"], content=["def f():\n", "\tpass\n", "[bold]你好[/bold]"])]
    result = ask("write")
    assert result.out == "def f():\n\tpass\n[bold]你好[/bold]\n"
    assert result.err == "hmm\n"
    assert result.code == 0


def test_options_reach_the_wire(ask, server) -> None:
    ask(
        "Explain",
        "-s",
        "be brief",
        "-m",
        "other",
        "-t",
        "0.5",
        "--max-tokens",
        "9",
        "--seed",
        "1",
        stdin="code",
    )
    sent = server.requests[0]
    assert sent["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "code\n\nExplain"},
    ]
    assert [sent[key] for key in ("model", "temperature", "max_tokens", "seed")] == ["other", 0.5, 9, 1]


@pytest.mark.parametrize("extra", [(), ("--no-stream",)])
def test_json_is_one_object(ask, server, extra) -> None:
    server.replies = [Reply(reasoning=["hmm"])]
    result = ask("hi", "--json", *extra)
    value = json.loads(result.out)
    assert value.pop("seconds") >= 0
    assert value == {
        "content": "Hello.",
        "reasoning_content": "hmm",
        "model": "scripted",
        "backend": "server",
        "usage": USAGE,
        "finish_reason": "stop",
        "cost": {"amount": "0", "currency": "USD"},
    }
    assert result.err == ""


def test_no_stream_asks_for_the_whole_answer(ask, server) -> None:
    result = ask("hi", "--no-stream")
    assert result.out == "Hello.\n"
    assert not server.requests[0].get("stream")


def test_usage_is_on_stderr(ask) -> None:
    result = ask("hi", "-u")
    assert result.out == "Hello.\n"
    assert "7 prompt tokens (4 cached) + 3 answer tokens" in result.err
    assert "first token" in result.err


def test_a_cut_answer_is_remarked_on(ask, server) -> None:
    server.replies = [Reply(finish_reason="length")]
    assert "cut at its longest allowed length" in ask("hi").err


@pytest.mark.parametrize(
    ("status", "text", "code"),
    [
        (400, "bad field", 1),
        (400, "This model's maximum context length is 10 tokens", 5),
        (401, "Authentication Fails", 3),
        (402, "Insufficient Balance", 4),
        (404, "no such model", 1),
    ],
)
def test_backend_errors_have_exit_codes(ask, server, status, text, code) -> None:
    server.replies = [Reply(status=status, error=text)]
    result = ask("hi")
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("error: ")
    assert text in result.err
    assert "\nnext: " in result.err


def test_a_rate_limit_ends_with_4(ask, server, monkeypatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_MAX_RETRIES", "0")
    server.replies = [Reply(status=429, error="slow down")]
    assert ask("hi").code == 4


def test_a_broken_stream_keeps_what_came(ask, server) -> None:
    server.replies = [Reply(content=["half"], finish_reason=None)]
    result = ask("hi")
    assert (result.code, result.out) == (1, "half\n")
    assert "broke off" in result.err


def test_the_time_limit_ends_with_124(ask, server) -> None:
    server.replies = [Reply(content=["half"], hang=True)]
    result = ask("hi", "--timeout", "1")
    assert (result.code, result.out) == (124, "half\n")
    assert server.client_left.wait(5)


def test_an_unreachable_server_says_so(cli, monkeypatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_MAX_RETRIES", "0")
    result = cli("ask", "hi", "--base-url", "http://127.0.0.1:9/v1", "-m", "any")
    assert result.code == 1
    assert "cannot reach 127.0.0.1" in result.err


def test_ten_megabytes_are_sent(ask, server) -> None:
    assert ask("count", stdin=b"word " * 2_000_000).code == 0
    assert len(server.requests[0]["messages"][0]["content"]) > 9_999_999
