"""Every accepted request is answered, whatever the engine does; every cancel reaches it."""

from __future__ import annotations

import json
import threading

import pytest
from scripted_engine import ScriptedEngine
from server_client import USER, chunks, handler_for, post, read

from local_backend.errors import EngineStoppedError, OutOfBlocksError, RequestError

_CHAT = {"model": "toy", "messages": USER}
_FIM = {"model": "toy", "prompt": "x"}
_ROUTES = [("/chat/completions", _CHAT), ("/completions", _FIM)]


def _failing(after, failure=None):
    engine = ScriptedEngine("Hello")
    engine.fail_after = after
    engine.failure = failure or EngineStoppedError("the engine died", help_message="Try again.")
    return engine


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("path", "body"), _ROUTES)
@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (EngineStoppedError("the engine died"), 503),
        (RuntimeError("a bug"), 500),
        (RequestError("the constraint failed"), 400),
        (OutOfBlocksError("the cache is too small"), 400),
    ],
)
def test_failure_before_the_first_byte_has_its_own_status(failure, status, path, body, stream):
    response = post(handler_for(_failing(0, failure)), body | {"stream": stream}, path).settled()
    assert response.headers["x-ds-trace-id"]
    assert read(response)[0] == status


@pytest.mark.parametrize(("path", "body"), _ROUTES)
def test_failure_in_a_stream_ends_it_with_the_dialects_own_reason(path, body):
    stream = chunks(handler_for(_failing(3)), path, **body)
    assert stream[-1]["choices"][0]["finish_reason"] == "insufficient_system_resource"
    assert stream[-1]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(("path", "body"), _ROUTES)
@pytest.mark.parametrize("after", [0, 3])
def test_late_failure_of_a_whole_reply_keeps_what_was_said(path, body, after):
    response = post(handler_for(_failing(after)), body, path)
    reply = json.loads(b"".join(response.body))  # not settled: "200 OK" has been sent
    assert reply["choices"][0]["finish_reason"] == "insufficient_system_resource"
    assert "Hel"[:after] in json.dumps(reply["choices"][0])


@pytest.mark.parametrize("after", [0, 3])
def test_an_engine_that_is_closed_under_a_request(after):
    engine = ScriptedEngine("Hello")
    engine.pause_after = after
    response = post(handler_for(engine), _CHAT)
    engine.submitted[0].cancelled.set()
    assert read(response)[0] == 503


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("path", "body"), _ROUTES)
def test_close_cancels_a_blocked_generation(path, body, stream, caplog):
    engine = ScriptedEngine("Hello")
    engine.pause_after = 2
    response = post(handler_for(engine), body | {"stream": stream}, path)
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.extend(response.body))
    reader.start()
    while engine.submitted[0].given < 2:
        pass
    response.body.close()
    reader.join(5)
    assert not reader.is_alive()
    assert engine.submitted[0].cancelled.is_set()
    assert b"[DONE]" not in b"".join(seen)
    assert not caplog.records


def test_a_reply_nobody_reads_is_cancelled():
    engine = ScriptedEngine("Hello")
    response = post(handler_for(engine), _CHAT)
    del response
    assert engine.submitted[0].cancelled.is_set()


def test_a_failure_is_logged_once_with_its_trace_id(caplog):
    response = post(handler_for(_failing(0)), _CHAT).settled()
    assert [response.headers["x-ds-trace-id"] in record.message for record in caplog.records] == [True]
