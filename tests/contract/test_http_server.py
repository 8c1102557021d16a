"""The handler behind real sockets: the openai SDK, raw bytes, and clients that leave."""

from __future__ import annotations

import json
import socket
import threading
import time

import openai
import pytest
from loopback_server import serving
from scripted_engine import ScriptedEngine
from server_client import CALL, USER, WEATHER, handler_for

from local_backend.errors import EngineStoppedError
from local_backend.server.app import MAX_BODY_BYTES
from local_backend.server.launch import LOOPBACK_HOSTS


def _client(port, key="local"):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}", api_key=key, max_retries=0)


def _until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


def _connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def _raw(port, body, *, path="/chat/completions", head=""):
    sock = _connect(port)
    sock.sendall(
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{head}"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return sock


def _body(**fields):
    return json.dumps({"model": "toy", "messages": USER, **fields}).encode()


def _read_until(sock, wanted):
    seen = b""
    while wanted not in seen:
        data = sock.recv(4096)
        assert data, seen
        seen += data
    return seen


def test_openai_sdk_whole_and_streamed():
    with serving(handler_for(ScriptedEngine("Hello 你好"))) as port, _client(port) as client:
        whole = client.chat.completions.create(model="deepseek-flash", messages=USER)
        stream = client.chat.completions.create(model="deepseek-flash", messages=USER, stream=True)
        assert whole.choices[0].message.content == "Hello 你好"
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hello 你好"


def test_openai_sdk_tool_call():
    with serving(handler_for(ScriptedEngine(CALL))) as port, _client(port) as client:
        reply = client.chat.completions.create(model="toy", messages=USER, tools=[WEATHER])
        call = reply.choices[0].message.tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Oslo"})


def test_openai_sdk_completion():
    with serving(handler_for(ScriptedEngine("x"))) as port, _client(port) as client:
        assert client.completions.create(model="toy", prompt="a", suffix="b").choices[0].text == "x"


@pytest.mark.parametrize("stream", [True, False])
def test_openai_sdk_errors(stream):
    engine = ScriptedEngine()
    engine.fail_after, engine.failure = 0, EngineStoppedError("the engine died")
    with serving(handler_for(engine, api_key="right")) as port:
        with _client(port, "wrong") as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        with (
            _client(port, "right") as client,
            pytest.raises(openai.BadRequestError, match="supported API model"),
        ):
            client.chat.completions.create(model="gpt", messages=USER, stream=stream)
        with _client(port, "right") as client, pytest.raises(openai.InternalServerError, match="engine died"):
            client.chat.completions.create(model="toy", messages=USER, stream=stream)


def test_chunks_arrive_while_the_engine_is_still_talking():
    engine = ScriptedEngine("ab")
    engine.pause_after = 1
    with serving(handler_for(engine)) as port, _raw(port, _body(stream=True)) as sock:
        assert b'"content":"a"' in _read_until(sock, b'"content":"a"')
        engine.go_on.set()
        _read_until(sock, b"data: [DONE]")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("pause_after", [0, 1])
def test_a_client_that_leaves_frees_the_engine(stream, pause_after):
    engine = ScriptedEngine("ab")
    engine.pause_after = pause_after
    with serving(handler_for(engine)) as port:
        sock = _raw(port, _body(stream=stream))
        _until(lambda: engine.submitted)
        sock.close()
        assert engine.submitted[0].cancelled.wait(5)


def test_a_client_that_leaves_in_the_middle_of_its_request():
    with serving(handler_for(ScriptedEngine())) as port:
        _raw(port, b"", head="content-length: 100\r\nx: ").close()
        with _client(port) as client:
            assert client.models.list().data[0].id == "toy"


def test_queued_stream_gets_comments():
    engine = ScriptedEngine("a")
    engine.pause_after = 0
    with (
        serving(handler_for(engine), keep_alive_seconds=0.05) as port,
        _raw(port, _body(stream=True)) as sock,
    ):
        head = _read_until(sock, b": keep-alive\n\n")
        assert b"HTTP/1.1 200 OK" in head
        engine.go_on.set()
        assert b"data: [DONE]" in _read_until(sock, b"data: [DONE]")


def test_queued_whole_reply_gets_blank_lines_and_is_still_json():
    engine = ScriptedEngine("a")
    engine.pause_after = 0
    with serving(handler_for(engine), keep_alive_seconds=0.05) as port, _client(port) as client:
        threading.Timer(0.3, engine.go_on.set).start()
        raw = client.chat.completions.with_raw_response.create(model="toy", messages=USER)
        assert raw.text.startswith("\n")
        assert raw.parse().choices[0].message.content == "a"


def test_failure_after_keep_alives_is_said_in_band():
    engine = ScriptedEngine("a")
    engine.pause_after = engine.fail_after = 0
    with serving(handler_for(engine), keep_alive_seconds=0.05) as port, _client(port) as client:
        threading.Timer(0.2, engine.go_on.set).start()
        reply = client.chat.completions.create(model="toy", messages=USER)
        assert reply.choices[0].finish_reason == "insufficient_system_resource"


def test_many_queued_requests_do_not_block_each_other():
    engine = ScriptedEngine("a")
    engine.pause_after = 0
    with serving(handler_for(engine)) as port:
        socks = [_raw(port, _body()) for _ in range(60)]
        _until(lambda: len(engine.submitted) == 60)
        engine.go_on.set()
        assert all(b"200 OK" in _read_until(sock, b'"content":"a"') for sock in socks)
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("head", ["content-length: {length}", "transfer-encoding: chunked"])
def test_too_large_a_body(head):
    length = MAX_BODY_BYTES + 1
    with serving(handler_for(ScriptedEngine())) as port, _connect(port) as sock:
        sock.sendall(
            f"POST /completions HTTP/1.1\r\nhost: x\r\n{head.format(length=length)}\r\n\r\n".encode()
        )
        if "chunked" in head:
            sock.sendall(f"{length:x}\r\n".encode() + b"x" * length)
        assert b" 413 " in _read_until(sock, b"\r\n")


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("evil.example", 403), ("", 403)],
)
def test_without_a_key_only_loopback_names_are_served(host, status):
    with serving(handler_for(ScriptedEngine()), allowed_hosts=LOOPBACK_HOSTS) as port, _connect(port) as sock:
        sock.sendall(f"GET /models HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert f" {status} ".encode() in _read_until(sock, b"\r\n")


def test_shutdown_cancels_what_still_runs():
    engine = ScriptedEngine("ab")
    engine.pause_after = 1
    with serving(handler_for(engine)) as port:
        sock = _raw(port, _body(stream=True))
        _read_until(sock, b'"content":"a"')
    assert engine.submitted[0].cancelled.is_set()
    sock.close()
