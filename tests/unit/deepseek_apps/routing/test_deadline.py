"""A whole call ends at its deadline, whatever it waits for, and is not repeated."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest
from fake_deepseek import KEEP_ALIVE, FakeDeepSeek, Reply, chunk, error, event_stream, fake_deepseek, stream
from routes import MESSAGES, Ask, ask_async, ask_sync, hosted, routed, server
from stub_handler import StubHandler

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError, errors
from deepseek_apps.backends import LocalTransport, ServerBackend
from deepseek_apps.routing._deadline_transport import DeadlineTransport
from deepseek_apps.routing.deadline import DEADLINE_HEADER

SECONDS = 0.15
HEADERS = {DEADLINE_HEADER: str(SECONDS)}


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return request.param


@pytest.fixture
def second() -> Iterator[FakeDeepSeek]:
    with fake_deepseek() as server:
        yield server


def backend(fake: FakeDeepSeek) -> ServerBackend:
    return ServerBackend(base_url=fake.url, default_model="m", flavor="openai")


def pause() -> threading.Event:
    return threading.Event()


@contextmanager
def socket_that_only_listens() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def expect_deadline(call: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(errors.DeadlineExceededError, match=r"deadline of 0\.15 s"):
        call()
    assert SECONDS - 0.01 <= time.monotonic() - began < SECONDS + 0.3


def test_waiting_for_the_first_byte_ends(ask: Ask) -> None:
    with socket_that_only_listens() as url:
        expect_deadline(lambda: ask(ServerBackend(base_url=url, flavor="openai"), headers=HEADERS))


def test_a_body_that_stalls_ends(ask: Ask, fake: FakeDeepSeek) -> None:
    fake.script.append(Reply((b" ", pause())))
    expect_deadline(lambda: ask(backend(fake), headers=HEADERS))


@pytest.mark.parametrize("part", [KEEP_ALIVE, chunk({"content": "a"})])
def test_a_stream_that_stalls_ends(ask: Ask, fake: FakeDeepSeek, part: bytes) -> None:
    fake.script.append(event_stream(part, pause()))
    expect_deadline(lambda: ask(backend(fake), stream=True, headers=HEADERS))


def test_keep_alive_comments_do_not_put_it_off(ask: Ask, fake: FakeDeepSeek) -> None:
    gates = [pause() for _ in range(10)]
    fake.script.append(event_stream(*[part for gate in gates for part in (KEEP_ALIVE, gate)]))
    timers = [threading.Timer(0.05 * i, gate.set) for i, gate in enumerate(gates)]
    for timer in timers:
        timer.start()
    expect_deadline(lambda: ask(backend(fake), stream=True, headers=HEADERS))
    for timer in timers:
        timer.cancel()


def test_blank_lines_before_the_json_do_not_put_it_off(ask: Ask, fake: FakeDeepSeek) -> None:
    gates = [pause() for _ in range(10)]
    fake.script.append(Reply(tuple(part for gate in gates for part in (b"\n", gate))))
    timers = [threading.Timer(0.05 * i, gate.set) for i, gate in enumerate(gates)]
    for timer in timers:
        timer.start()
    expect_deadline(lambda: ask(backend(fake), headers=HEADERS))
    for timer in timers:
        timer.cancel()


@pytest.mark.parametrize("streams", [True, False])
def test_it_holds_while_the_router_looks_at_the_beginning(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek, streams: bool
) -> None:
    fake.script.append(event_stream(KEEP_ALIVE, pause()) if streams else Reply((b" ", pause())))
    route = routed("auto", hosted(fake), server(second))
    expect_deadline(lambda: ask(route, model="deepseek-flash", stream=streams, headers=HEADERS))
    assert second.asked == []


def test_it_is_shared_by_all_that_are_asked(ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek) -> None:
    fake.script.append(error(503, "x"))
    second.script.append(Reply((pause(),)))
    expect_deadline(lambda: ask(routed("exact", server(fake, second)), headers=HEADERS))


def test_a_call_in_time_is_untouched(ask: Ask, fake: FakeDeepSeek) -> None:
    fake.script.append(stream("a", "b"))
    assert ask(backend(fake), stream=True, headers={DEADLINE_HEADER: "5"}).body.endswith("[DONE]\n\n")
    assert DEADLINE_HEADER not in fake.asked[0].headers


def test_the_connection_can_be_used_again(fake: FakeDeepSeek) -> None:
    with DeepSeek(backend="server", base_url=fake.url, default_headers={DEADLINE_HEADER: "0.2"}) as client:
        for _ in range(3):
            assert client.chat.completions.create(model="m", messages=MESSAGES).choices
            time.sleep(0.1)


def test_a_reader_that_comes_too_late_is_told(fake: FakeDeepSeek) -> None:
    fake.script.append(event_stream(chunk({"content": "a"}), pause()))
    transport = DeadlineTransport(backend(fake).transport(), SECONDS)
    with (
        httpx2.Client(transport=transport, base_url=fake.url) as client,
        client.stream("POST", "chat/completions", json={"stream": True}) as response,
    ):
        time.sleep(SECONDS + 0.05)
        with pytest.raises(errors.DeadlineExceededError):
            response.read()


@pytest.mark.parametrize("silent", [True, False])
def test_it_ends_what_this_process_generates(silent: bool) -> None:
    handler = StubHandler(silent=silent, held=not silent)
    transport = DeadlineTransport(LocalTransport(handler), SECONDS)
    with httpx2.Client(transport=transport, timeout=5) as client:
        expect_deadline(
            lambda: client.post("http://local.invalid/v1/chat/completions", json={"stream": True})
        )
    assert handler.cancelled.wait(1)


def test_the_sdk_neither_wraps_nor_repeats_it(fake: FakeDeepSeek, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_DEADLINE", str(SECONDS))
    fake.script.append(Reply((pause(),)))
    with DeepSeek(backend="server", base_url=fake.url, max_retries=3) as client:
        expect_deadline(lambda: client.chat.completions.create(model="m", messages=MESSAGES))
    assert len(fake.asked) <= 2  # one may have asked what the server is


def test_repetitions_of_the_sdk_share_it(fake: FakeDeepSeek) -> None:
    fake.script += [error(503, "x")] * 9
    with DeepSeek(backend="hosted", base_url=fake.url, api_key="sk", max_retries=9) as client:
        expect_deadline(
            lambda: client.chat.completions.create(
                model="deepseek-flash", messages=MESSAGES, extra_headers=HEADERS
            )
        )


async def test_repetitions_share_it_asynchronously(fake: FakeDeepSeek) -> None:
    fake.script += [error(503, "x")] * 9
    async with AsyncDeepSeek(
        backend="hosted", base_url=fake.url, api_key="sk", max_retries=9, default_headers=HEADERS
    ) as client:
        began = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError):
            await client.chat.completions.create(model="deepseek-flash", messages=MESSAGES)
        assert time.monotonic() - began < SECONDS + 0.3


@pytest.mark.parametrize("value", ["soon", "nan", "inf", "@x"])
def test_nonsense_is_refused(fake: FakeDeepSeek, value: str) -> None:
    with pytest.raises(SettingsError, match=DEADLINE_HEADER):
        ask_sync(backend(fake), headers={DEADLINE_HEADER: value})
    assert fake.asked == []
