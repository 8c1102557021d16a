"""What makes the router ask somebody else, what does not, and what it says about it; on real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import httpx2
import pytest
from fake_deepseek import (
    KEEP_ALIVE,
    FakeDeepSeek,
    Reply,
    chunk,
    completion,
    error,
    event_stream,
    fake_deepseek,
    plain,
    stream,
)
from routes import MESSAGES, Ask, ask_async, ask_sync, closed_port, hosted, routed, server

from deepseek_apps import SettingsError
from deepseek_apps.backend_client import BackendClient

GAVE_UP = "insufficient_system_resource"


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return request.param


@pytest.fixture
def second() -> Iterator[FakeDeepSeek]:
    with fake_deepseek() as server:
        yield server


def whole(finish_reason: str, content: str) -> Reply:
    choice = {"index": 0, "message": {"content": content}, "finish_reason": finish_reason}
    return Reply((json.dumps({"choices": [choice]}).encode(),))


HELPED = {
    "401": error(401, "Authentication Fails"),
    "402": error(402, "Insufficient Balance"),
    "429": error(429, "Rate limit reached for TPM"),
    "500": plain(500, ""),
    "503": error(503, "overloaded"),
    "an empty reply": plain(200, ""),
    "a reply that is not JSON": plain(200, "<html>welcome</html>"),
    GAVE_UP: whole(GAVE_UP, ""),
    "the connection broke": Reply((b'{"choi',), cut=True),
    "an error in a 200 reply": Reply((b'{"error": {"message": "worker died", "type": "server_error"}}',)),
}


@pytest.mark.parametrize("fault", HELPED)
def test_a_fault_before_the_first_byte_is_made_good_by_the_next(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek, fault: str
) -> None:
    fake.script.append(HELPED[fault])
    outcome = ask(routed("auto", server(fake), hosted(second)))
    assert (outcome.status, json.loads(outcome.body)["choices"][0]["message"]["content"]) == (200, "Hello.")
    assert outcome.route == f"hosted {second.url} as deepseek-flash after server:gpu {fake.url}: {fault}"
    assert outcome.headers["x-deepseek-apps-backend"] == "hosted"


STREAMED = {
    "503": error(503, "overloaded"),
    GAVE_UP: event_stream(KEEP_ALIVE, chunk({"role": "assistant", "content": ""}), chunk({}, GAVE_UP)),
    "the connection broke": event_stream(KEEP_ALIVE, chunk({"content": ""}), cut=True),
    "an error before the answer": event_stream(
        b'data: {"error": {"message": "x", "type": "server_error"}}\n\n'
    ),
}


@pytest.mark.parametrize("fault", STREAMED)
def test_a_stream_without_a_first_word_is_made_good_by_the_next(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek, fault: str
) -> None:
    fake.script.append(STREAMED[fault])
    outcome = ask(routed("auto", hosted(fake), server(second)), model="deepseek-flash", stream=True)
    assert outcome.body.count('"Hel"') == 1
    assert outcome.body.endswith("data: [DONE]\n\n")
    assert outcome.route.endswith(f" after hosted {fake.url}: {fault}")


def test_a_refused_connection_and_a_silent_backend_are_made_good(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek
) -> None:
    fake.script.append(Reply((threading.Event(),)))
    backend = routed("auto", server(closed_port(), name="off"), server(fake, name="slow"), hosted(second))
    outcome = ask(backend, timeout=0.15)
    assert outcome.status == 200
    assert "no connection; server:slow" in outcome.route
    assert outcome.route.endswith("timed out")


@pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 422])
def test_what_is_wrong_with_the_request_itself_is_not_asked_again(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek, status: int
) -> None:
    fake.script.append(error(status, "no"))
    assert ask(routed("auto", server(fake), hosted(second))).status == status
    assert second.asked == []


@pytest.mark.parametrize("cut", [True, False])
def test_after_the_first_word_nothing_is_asked_again(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek, cut: bool
) -> None:
    fake.script.append(stream("Hel", done=False, cut=cut))
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(routed("auto", hosted(fake), server(second)), model="deepseek-flash", stream=True)
    assert second.asked == []


@pytest.mark.parametrize(
    "delta", [{"reasoning_content": "Hm"}, {"tool_calls": [{"index": 0}]}, {"content": "A"}]
)
def test_thinking_and_tool_calls_are_first_words_too(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek, delta: dict[str, object]
) -> None:
    fake.script.append(event_stream(chunk(delta), chunk({}, GAVE_UP), b"data: [DONE]\n\n"))
    outcome = ask(routed("auto", hosted(fake), server(second)), model="deepseek-flash", stream=True)
    assert GAVE_UP in outcome.body
    assert second.asked == []


def test_keep_alive_comments_are_life(ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek) -> None:
    gates = [threading.Event() for _ in range(4)]
    parts = [part for gate in gates for part in (KEEP_ALIVE, gate)]
    fake.script.append(event_stream(*parts, chunk({"content": "late"}, "stop"), b"data: [DONE]\n\n"))
    timers = [threading.Timer(0.12 * (i + 1), gate.set) for i, gate in enumerate(gates)]
    for timer in timers:
        timer.start()
    outcome = ask(
        routed("auto", hosted(fake), server(second)), model="deepseek-flash", stream=True, timeout=0.3
    )
    assert '"late"' in outcome.body
    assert second.asked == []


def test_blank_lines_and_a_wrong_content_type_are_an_answer(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek
) -> None:
    body = b"\n\n\n" + completion().parts[0]
    fake.script.append(Reply((body,), content_type="application/octet-stream"))
    assert json.loads(ask(routed("auto", server(fake), hosted(second))).body)["choices"]
    assert second.asked == []


def test_if_nobody_helps_the_first_choice_is_heard(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek
) -> None:
    fake.script.append(error(503, "the first is overloaded"))
    second.script.append(error(500, "the second broke"))
    outcome = ask(routed("auto", server(fake), hosted(second)))
    assert (outcome.status, "the first" in outcome.body) == (503, True)
    assert outcome.route == f"server:gpu {fake.url} and nobody did better: hosted {second.url}: 500"


def test_if_nobody_is_there_the_first_connections_error_is_raised(ask: Ask) -> None:
    with pytest.raises(httpx2.ConnectError):
        ask(routed("auto", server(closed_port()), hosted(closed_port())))


def test_the_caller_can_close_a_stream_at_any_point(fake: FakeDeepSeek, second: FakeDeepSeek) -> None:
    fake.script.append(event_stream(chunk({"content": "Hel"}), threading.Event()))
    backend = routed("auto", hosted(fake), server(second))
    with BackendClient(backend) as client:
        body = {"model": "deepseek-flash", "messages": MESSAGES, "stream": True}
        with client.stream("POST", "chat/completions", json=body) as response:
            assert next(response.iter_lines()).startswith("data:")
        assert client.get("models").status_code == 200


def test_a_request_for_another_host_is_refused(fake: FakeDeepSeek, second: FakeDeepSeek) -> None:
    with (
        BackendClient(routed("auto", hosted(fake), server(second))) as client,
        pytest.raises(SettingsError, match="refused"),
    ):
        client.get(f"{second.url}/models")
    assert fake.asked + second.asked == []


def test_keys_and_our_own_headers_go_nowhere_else(ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek) -> None:
    fake.script.append(plain(503, ""))
    headers = {"authorization": "Bearer mine", "x-deepseek-apps-deadline": "5", "x-mine": "1"}
    ask(routed("auto", hosted(fake), server(second)), model="deepseek-flash", headers=headers)
    assert fake.asked[0].headers["authorization"] == "Bearer sk-hosted"
    assert "authorization" not in second.asked[-1].headers
    assert second.asked[-1].headers["x-mine"] == "1"
    assert not any(name.startswith("x-deepseek-apps") for name in second.asked[-1].headers)
