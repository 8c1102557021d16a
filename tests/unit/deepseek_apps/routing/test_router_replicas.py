"""Several replicas of one server: affinity, health, places in flight; also when one dies under load."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
import pytest
from fake_deepseek import FakeDeepSeek, chunk, error, event_stream, fake_deepseek
from routes import MESSAGES, Ask, ask_async, ask_sync, closed_port, routed, server

from deepseek_apps.routing.breaker import BreakerConfig
from deepseek_apps.routing.replicas import ReplicaPool
from deepseek_apps.routing.router import AsyncRouterTransport, RouterTransport
from deepseek_apps.routing.table import RouteTable

BODY = {"model": "m", "messages": MESSAGES}
HELD = BODY | {"stream": True}


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return request.param


@pytest.fixture
def three() -> Iterator[list[FakeDeepSeek]]:
    with ExitStack() as stack:
        yield [stack.enter_context(fake_deepseek()) for _ in range(3)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def client_of(table: RouteTable) -> httpx2.Client:
    base = table.targets[0].replicas[0].base_url
    return httpx2.Client(transport=RouterTransport(table), base_url=base, timeout=5)


def table_of(*fakes: FakeDeepSeek | str, clock: Clock | None = None) -> RouteTable:
    config = BreakerConfig(threshold=2, base=10.0)
    return RouteTable("exact", [server(*fakes)], breaker=config, clock=clock or Clock())


def test_a_conversation_stays_with_its_replica(three: list[FakeDeepSeek]) -> None:
    with client_of(table_of(*three)) as client:
        for turns in range(1, 5):
            more = [{"role": "user", "content": str(i)} for i in range(turns)]
            client.post(
                "chat/completions", json={"messages": [{"role": "system", "content": "S"}, *MESSAGES, *more]}
            )
    assert sorted(len(fake.asked) for fake in three) == [0, 0, 4]


def test_different_conversations_are_spread(three: list[FakeDeepSeek]) -> None:
    with client_of(table_of(*three)) as client:
        for i in range(30):
            client.post("chat/completions", json={"messages": [{"role": "user", "content": f"question {i}"}]})
    assert min(len(fake.asked) for fake in three) >= 3


def test_a_dead_replica_is_passed_over_and_then_left_alone(three: list[FakeDeepSeek]) -> None:
    table = table_of(closed_port(), *three[:2])
    with client_of(table) as client:
        statuses = {client.post("chat/completions", json=BODY | {"user": i}).status_code for i in range(9)}
        routes = [client.get("models").headers["x-deepseek-apps-route"] for _ in range(6)]
    assert statuses == {200}
    assert sum("after" in route for route in routes) <= 1


def test_a_replica_returns_only_after_it_answers_a_probe(three: list[FakeDeepSeek]) -> None:
    clock, one, two = Clock(), three[0], three[1]
    table = table_of(one, two, clock=clock)
    with client_of(table) as client:
        one.script += [error(503, "a")] * 2
        for _ in range(4):
            client.get("models")
        asked = len(one.asked)
        for _ in range(4):
            client.get("models")
        assert len(one.asked) == asked
        clock.now = 100.0
        one.script.append(error(500, "still ill"))
        client.post("chat/completions", json=BODY)
        assert [request.path for request in one.asked[asked:]] == ["/models"]
        clock.now = 200.0
        client.post("chat/completions", json=BODY)
        assert table.pools[0].state() == "closed"
        assert [request.path for request in one.asked[asked:]][:2] == ["/models", "/models"]


def test_if_all_are_out_one_is_asked_all_the_same(three: list[FakeDeepSeek]) -> None:
    for fake in three[:2]:
        fake.script += [error(503, "x")] * 2
    table = table_of(*three[:2])
    with client_of(table) as client:
        assert [client.post("chat/completions", json=BODY).status_code for _ in range(2)] == [503, 503]
        assert table.pools[0].state() == "open"
        assert client.post("chat/completions", json=BODY).status_code == 200
        assert table.pools[0].state() == "closed"


def test_if_no_replica_is_there_the_connections_error_is_raised(ask: Ask) -> None:
    with pytest.raises(httpx2.ConnectError):
        ask(routed("exact", server(closed_port(), closed_port())))


def test_a_wrong_key_is_wrong_at_every_replica(ask: Ask, three: list[FakeDeepSeek]) -> None:
    for fake in three:
        fake.script.append(error(401, "no"))
    assert ask(routed("exact", server(*three))).status == 401
    assert sum(len(fake.asked) for fake in three) == 1


@pytest.mark.parametrize("how", ["close", "read", "drop"])
def test_a_place_is_given_back_however_the_answer_ends(fake: FakeDeepSeek, how: str) -> None:
    table = table_of(fake, closed_port())
    gate = threading.Event()
    fake.script += [event_stream(chunk({"content": "a"}), gate, b"data: [DONE]\n\n")] * 2
    client = client_of(table)
    response = client.send(client.build_request("POST", "chat/completions", json=HELD), stream=True)
    assert sum(table.pools[0].in_flight) == 1
    gate.set()
    if how == "read":
        response.read()
    elif how == "close":
        response.close()
    else:
        response.stream.close()
        del response
        gc.collect()
    assert sum(table.pools[0].in_flight) == 0
    client.close()


@pytest.mark.parametrize("phase", ["headers", "body"])
async def test_a_cancelled_task_gives_its_place_back(fake: FakeDeepSeek, phase: str) -> None:
    table = table_of(fake, closed_port())
    parts = [chunk({"content": "a"})] if phase == "body" else []
    fake.script += [event_stream(*parts, threading.Event())] * 2
    transport = AsyncRouterTransport(table)
    async with httpx2.AsyncClient(transport=transport, base_url=fake.url, timeout=5) as client:
        task = asyncio.create_task(client.post("chat/completions", json=HELD))
        while not fake.asked:
            await asyncio.sleep(0.01)
        assert sum(table.pools[0].in_flight) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sum(table.pools[0].in_flight) == 0


def test_one_dies_under_load_and_nobody_notices(three: list[FakeDeepSeek]) -> None:
    with ExitStack() as stack:
        doomed = stack.enter_context(fake_deepseek())
        table = table_of(doomed, *three)
        client = stack.enter_context(client_of(table))

        def ask(i: int) -> int:
            if i == 40:
                doomed.script += [event_stream(cut=True)] * 1000  # every connection breaks from now on
            body = {"messages": [{"role": "user", "content": str(i)}]}
            return client.post("chat/completions", json=body).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(150))) == {200}
        after = len(doomed.asked)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(200, 250))) == {200}
        assert len(doomed.asked) == after
    assert table.pools[0].in_flight == (0, 0, 0, 0)


def test_a_place_is_given_back_when_the_answer_was_read_on_the_way(fake: FakeDeepSeek) -> None:
    table = RouteTable("exact", [server(closed_port(), fake)])
    with client_of(table) as client:
        kept = [client.post("chat/completions", json=BODY) for _ in range(3)]
        assert table.pools[0].in_flight == (0, 0)
    assert {response.status_code for response in kept} == {200}


def test_a_pool_prefers_the_least_busy_without_affinity() -> None:
    pool = ReplicaPool(["a", "b", "c"])
    leases = [pool.lease() for _ in range(6)]
    assert pool.in_flight == (2, 2, 2)
    for lease in leases:
        lease.release()
        lease.release()
    assert pool.in_flight == (0, 0, 0)
