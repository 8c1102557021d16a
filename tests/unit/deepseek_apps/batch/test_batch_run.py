"""A batch from the first request to the last: results, resuming, waiting for cheap hours, budgets."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from batch_clock import BatchClock
from batch_server import BatchServer, batch_file, batch_line, completion, error_body

from deepseek_apps import async_http_client
from deepseek_apps.batch import BatchInputError, run_batch
from deepseek_apps.batch.run import BatchRun
from deepseek_apps.errors import BudgetExceededError, TimedOutError

# Off peak: 4 tokens in the cache, 6 not, 5 of answer.
EACH = (4 * Decimal("0.003") + 6 * Decimal("0.15") + 5 * Decimal("0.6")) / 1_000_000
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


async def test_every_request_gets_its_own_answer_in_openais_format(run_once, files) -> None:
    async with BatchServer() as server:
        summary = await run_once(server, batch_file(50))
    assert [row["custom_id"] for row in files.rows()] == [f"r{n}" for n in range(50)]
    for row in files.rows():
        assert sorted(row) == ["custom_id", "error", "id", "response"]
        assert (row["error"], row["response"]["status_code"]) == (None, 200)
        assert row["response"]["body"]["choices"][0]["message"]["content"] == row["custom_id"]
        assert row["response"]["request_id"] == f"chat-{row['custom_id']}"
    assert (summary.answered, summary.prompt_tokens, summary.cached_tokens) == (50, 500, 200)


async def test_bodies_are_sent_as_they_are(run_once) -> None:
    async with BatchServer() as server:
        await run_once(server, batch_line("终", thinking={"type": "disabled"}, user_id="u", odd=[1, None]))
    assert server.bodies == [
        {
            "model": "deepseek-flash",
            "messages": [{"role": "user", "content": "终"}],
            "thinking": {"type": "disabled"},
            "user_id": "u",
            "odd": [1, None],
        }
    ]


async def test_completion_in_the_middle_goes_to_its_own_route(run_once) -> None:
    body = '{"prompt": "a", "suffix": "b"}'
    line = f'{{"custom_id": "f", "method": "POST", "url": "/v1/completions", "body": {body}}}'
    async with BatchServer() as server:
        assert (await run_once(server, line)).answered == 1
    assert server.paths == ["/beta/completions"]
    assert server.bodies == [{"prompt": "a", "suffix": "b", "model": "deepseek-flash"}]


async def test_a_body_without_a_model_gets_the_servers_own(files) -> None:
    files.source.write_text(batch_line("a", model=None), encoding="utf-8")
    async with BatchServer() as server, async_http_client("server", base_url=server.url) as client:
        await run_batch(files.source, files.target, client=client)
    assert (server.paths[0], server.bodies[0]["model"]) == ("/v1/models", "toy")


async def test_a_retired_model_is_refused_before_anything_is_sent(files) -> None:
    files.source.write_text(batch_file(2) + batch_line("a", model="deepseek-chat"), encoding="utf-8")
    async with BatchServer() as server:
        client = async_http_client("hosted", base_url=server.url, api_key="sk")
        with pytest.raises(BatchInputError, match="retired"):
            await run_batch(files.source, files.target, client=client)
        await client.aclose()
    assert server.paths == []


async def test_a_finished_batch_asks_nothing_again(run_once) -> None:
    async with BatchServer() as server:
        await run_once(server, batch_file(10))
        summary = await run_once(server)
    assert (summary.resumed, summary.answered, server.asked.total()) == (10, 0, 10)
    assert summary.cost == 10 * EACH


async def test_stopping_lets_what_is_in_flight_come_home(run_once, files) -> None:
    started: list[BatchRun] = []

    def stop_at(prompt: str, times: int) -> None:
        if prompt == "r5":
            started[0].stop()

    async with BatchServer(replies=stop_at) as server:
        first = await run_once(server, batch_file(40), concurrency=4, on_start=started.append)
        assert 0 < first.answered < 40
        assert len(files.rows()) == first.answered == server.asked.total()
        second = await run_once(server)
    assert (second.resumed, second.resumed + second.answered) == (first.answered, 40)
    assert max(server.asked.values()) == 1


async def test_a_batch_that_takes_too_long_stops_and_keeps_what_is_done(run_once, files) -> None:
    def hang(prompt: str, times: int) -> None:
        if prompt == "r3":
            server.seconds = 60

    async with BatchServer(replies=hang) as server:
        with pytest.raises(TimedOutError, match=r"not done within 0\.3 s"):
            await run_once(server, batch_file(20), concurrency=1, timeout=0.3)
    assert [row["custom_id"] for row in files.rows()] == ["r0", "r1", "r2", "r3"]


async def test_off_peak_waits_for_the_cheap_hours(run_once) -> None:
    clock = BatchClock(MONDAY.replace(hour=1, minute=30))  # 09:30 in Beijing
    async with BatchServer() as server:
        summary = await run_once(server, batch_file(5), clock=clock, off_peak=True)
    assert summary.answered == 5
    assert clock.now() >= MONDAY.replace(hour=4)
    assert clock.now() < MONDAY.replace(hour=4, minute=1)


async def test_off_peak_pauses_when_the_peak_begins(run_once) -> None:
    clock = BatchClock(MONDAY.replace(hour=0, minute=59))
    sent_at: list[datetime] = []

    def answer(prompt: str, times: int) -> None:
        sent_at.append(clock.now())
        clock.elapsed += 10  # each answer takes ten seconds of the clock

    async with BatchServer(replies=answer) as server:
        await run_once(server, batch_file(12), clock=clock, off_peak=True, concurrency=1)
    assert len(sent_at) == 12
    peak = [at for at in sent_at if MONDAY.replace(hour=1) <= at < MONDAY.replace(hour=4)]
    assert peak == []
    assert sent_at[0] < MONDAY.replace(hour=1) < sent_at[-1]


async def test_off_peak_means_nothing_for_a_server(run_once) -> None:
    clock = BatchClock(MONDAY.replace(hour=1, minute=30))
    async with BatchServer() as server:
        await run_once(server, batch_file(5), clock=clock, off_peak=True, backend="server")
    assert clock.elapsed == 0


async def test_a_budget_holds_over_several_runs(run_once, files) -> None:
    lines = batch_file(20, max_tokens=100)
    # Off peak a request may cost $0.00006 and costs EACH.
    budget = Decimal("0.0001")
    async with BatchServer() as server:
        with pytest.raises(BudgetExceededError, match=r"more than its budget of \$0\.0001 holds"):
            await run_once(server, lines, budget=budget)
        done = len(files.rows())
        with pytest.raises(BudgetExceededError):
            await run_once(server, budget=budget)
        assert server.asked.total() == len(files.rows()) == done
        summary = await run_once(server, budget=Decimal(1))
    assert 5 <= done < 15
    assert (summary.resumed, summary.answered) == (done, 20 - done)
    assert max(server.asked.values()) == 1
    assert summary.cost == 20 * EACH


async def test_progress_is_told(run_once, files) -> None:
    files.source.write_text(batch_file(10), encoding="utf-8")
    seen = []
    async with BatchServer() as server, async_http_client("server", base_url=server.url) as client:
        await run_batch(files.source, files.target, client=client, on_progress=seen.append)
    finished = [progress.finished for progress in seen]
    assert finished == sorted(finished)
    assert (finished[-1], seen[-1].total, seen[-1].eta_seconds) == (10, 10, 0.0)


async def test_an_abandoned_batch_can_be_gone_on_with(run_once, files) -> None:
    async with BatchServer(seconds=0.02) as server:
        task = asyncio.create_task(run_once(server, batch_file(60), concurrency=4))
        while server.asked.total() < 20:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        done = len(files.rows())
        await run_once(server)
    assert len(files.rows()) == 60
    assert server.asked.total() <= 60 + 8
    assert done >= 12


async def test_a_reply_in_any_shape_can_be_kept(run_once, files) -> None:
    def odd(prompt: str, times: int) -> tuple[int, bytes] | None:
        return {
            "r0": (200, b"\n\n\n" + completion("r0")),
            "r1": (400, error_body("Content Exists Risk")),
            "r2": (404, b""),
        }.get(prompt)

    async with BatchServer(replies=odd) as server:
        summary = await run_once(server, batch_file(4), errors=files.target.with_name("err.jsonl"))
    rows = {row["custom_id"]: row for row in files.rows()}
    assert (summary.answered, summary.failed, summary.repeated) == (2, 2, 0)
    assert rows["r1"]["error"] == {"code": "400", "message": "Content Exists Risk", "retryable": False}
    assert rows["r1"]["response"]["body"]["error"]["message"] == "Content Exists Risk"
    assert rows["r2"]["error"]["message"] == "the backend answered 404 X"
    errors = files.target.with_name("err.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(errors) == 2
