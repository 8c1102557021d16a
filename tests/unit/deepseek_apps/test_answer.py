"""Answer streams over a real socket: streamed equals whole, broken streams say so, closing cancels."""

from __future__ import annotations

import pytest
from scripted_server import USAGE, Reply, scripted_server

from deepseek_apps.answer import AnswerStream, Question, TextDelta, Usage
from deepseek_apps.backend_client import BackendClient, http_client
from deepseek_apps.errors import BackendError, ContextOverflowError, UnreachableError

HELLO = [{"role": "user", "content": "Hi"}]
THINKING = Reply(reasoning=["Let me ", "see."], content=["你", "好", "\ud800!"])


def client(url: str) -> BackendClient:
    return http_client("server", base_url=url, model="scripted")


@pytest.mark.parametrize("stream", [True, False])
def test_streamed_and_whole_answers_agree(stream: bool) -> None:
    with (
        scripted_server(THINKING) as server,
        client(server.url) as asked,
        AnswerStream(asked, Question(messages=HELLO, stream=stream)) as answers,
    ):
        deltas = list(answers)
    answer = answers.answer
    assert (
        "".join(delta.text for delta in deltas if delta.kind == "content") == answer.content == "你好\ufffd!"
    )
    assert answer.reasoning_content == "Let me see."
    assert (answer.finish_reason, answer.model, answer.backend) == ("stop", "scripted", "server")
    assert answer.usage == USAGE
    assert answer.first_token_seconds is not None
    assert answer.first_token_seconds <= answer.seconds


def test_only_the_given_parameters_are_sent() -> None:
    with scripted_server() as server, client(server.url) as asked:
        list(AnswerStream(asked, Question(messages=HELLO, temperature=0.0, seed=3)))
        sent = server.requests[0]
    assert (sent["temperature"], sent["seed"], sent["model"]) == (0.0, 3, "scripted")
    assert "max_tokens" not in sent


def test_a_stream_without_an_end_is_an_error_and_keeps_what_came() -> None:
    with scripted_server(Reply(content=["half"], finish_reason=None)) as server, client(server.url) as asked:
        answers = AnswerStream(asked, Question(messages=HELLO))
        with pytest.raises(UnreachableError, match="broke off"):
            list(answers)
    assert answers.answer.content == "half"


def test_backend_errors_become_ours() -> None:
    text = "This model's maximum context length is 10 tokens."
    with (
        scripted_server(Reply(status=400, error=text)) as server,
        client(server.url) as asked,
        pytest.raises(ContextOverflowError, match="maximum context length"),
    ):
        list(AnswerStream(asked, Question(messages=HELLO)))


def test_closing_early_leaves_the_server() -> None:
    with scripted_server(Reply(content=["first"], hang=True)) as server, client(server.url) as asked:
        with AnswerStream(asked, Question(messages=HELLO)) as answers:
            assert next(iter(answers)) == TextDelta("content", "first")
        assert server.client_left.wait(5)


def test_usage_reads_both_cache_spellings() -> None:
    deepseek = Usage.from_wire({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8})
    openai = Usage.from_wire(
        {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}
    )
    assert deepseek == openai == Usage(prompt_tokens=9, completion_tokens=1, prompt_cache_hit_tokens=8)


@pytest.mark.parametrize(("status", "times"), [(503, 3), (429, 3), (402, 1), (400, 1)])
def test_only_what_may_pass_is_sent_again(status: int, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    failures = [Reply(status=status, error="no")] * 3
    with scripted_server(*failures) as server, client(server.url) as asked:
        with pytest.raises(BackendError):
            list(AnswerStream(asked, Question(messages=HELLO)))
        assert len(server.requests) == times


def test_a_second_try_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with scripted_server(Reply(status=500, error="no")) as server, client(server.url) as asked:
        answers = AnswerStream(asked, Question(messages=HELLO))
        assert "".join(delta.text for delta in answers) == "Hello."


def test_what_was_shown_is_not_asked_for_twice() -> None:
    with scripted_server(Reply(content=["half"], finish_reason=None)) as server, client(server.url) as asked:
        with pytest.raises(UnreachableError):
            list(AnswerStream(asked, Question(messages=HELLO)))
        assert len(server.requests) == 1


def test_a_server_without_a_configured_model_is_asked_for_one() -> None:
    with scripted_server() as server, http_client("server", base_url=server.url) as asked:
        list(AnswerStream(asked, Question(messages=HELLO)))
        assert server.requests[0]["model"] == "scripted"
