"""What a backend can do to a batch: which faults are tried again, which are kept, which stop it."""

from __future__ import annotations

import pytest
from batch_clock import BatchClock
from batch_server import BatchServer, batch_file, completion, error_body

from deepseek_apps.errors import (
    AuthenticationError,
    BackendError,
    InsufficientBalanceError,
    OverloadedError,
    RateLimitedError,
    UnreachableError,
)

GAVE_UP = completion("", finish_reason="insufficient_system_resource")


@pytest.mark.parametrize(
    "fault",
    [
        (500, error_body("server error")),
        (503, b"upstream connect error"),
        (503, b""),
        (429, b"Rate limit reached for TPM"),
        (0, b""),  # the connection breaks
        (200, b""),
        (200, b"<html>"),
        (200, error_body("overloaded")),
        (200, GAVE_UP),
    ],
)
async def test_what_passes_is_tried_again(run_once, fault: tuple[int, bytes]) -> None:
    async with BatchServer(replies=lambda prompt, times: fault if times < 2 else None) as server:
        summary = await run_once(server, batch_file(5))
    assert (summary.answered, summary.failed, summary.repeated) == (5, 0, 10)


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
async def test_what_does_not_pass_is_kept_and_never_sent_again(run_once, status: int) -> None:
    fault = (status, error_body("no"))
    async with BatchServer(replies=lambda prompt, times: fault if prompt == "r1" else None) as server:
        first = await run_once(server, batch_file(3))
        second = await run_once(server)
    assert (first.answered, first.failed) == (2, 1)
    assert (second.refused_before, second.unanswered) == (1, 1)
    assert server.asked["r1"] == 1


async def test_tries_are_counted_and_the_next_run_has_new_ones(run_once, files) -> None:
    down = {"r1": 99}
    async with BatchServer(
        replies=lambda prompt, times: (500, b"") if times < down.get(prompt, 0) else None
    ) as server:
        first = await run_once(server, batch_file(3), max_retries=2)
        rows = {row["custom_id"]: row for row in files.rows()}
        down["r1"] = 0
        second = await run_once(server)
    assert (first.failed, server.asked["r1"]) == (1, 4)
    assert rows["r1"]["error"] == {"code": "500", "message": "the backend answered 500 X", "retryable": True}
    assert (second.answered, second.unanswered, server.asked["r0"]) == (1, 0, 1)
    assert [row["error"] for row in files.rows()] == [None, None, None]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ((401, b"Authentication Fails (governor)"), AuthenticationError),
        ((402, error_body("Insufficient Balance")), InsufficientBalanceError),
    ],
)
async def test_no_money_and_a_wrong_key_stop_the_batch(
    run_once, files, fault: tuple[int, bytes], kind: type[BackendError]
) -> None:
    async with BatchServer(
        replies=lambda prompt, times: fault if times == 0 and int(prompt[1:]) >= 5 else None
    ) as server:
        with pytest.raises(kind):
            await run_once(server, batch_file(40), concurrency=2)
        assert server.asked.total() <= 5 + 4
        assert all(row["error"] is None for row in files.rows())
    async with BatchServer() as paid:
        summary = await run_once(paid)
    assert summary.resumed >= 5
    assert summary.resumed + summary.answered == 40


async def test_a_server_that_is_gone_stops_the_batch(run_once, files) -> None:
    async with BatchServer() as server:
        pass
    with pytest.raises(UnreachableError):
        await run_once(server, batch_file(100), max_retries=1)
    assert 10 <= len(files.rows()) < 40
    async with BatchServer() as server:
        summary = await run_once(server)
    assert (summary.answered, summary.unanswered) == (100, 0)


async def test_a_server_that_only_fails_stops_the_batch(run_once) -> None:
    async with BatchServer(replies=lambda prompt, times: (503, b"")) as server:
        with pytest.raises(OverloadedError):
            await run_once(server, batch_file(100), max_retries=0)
    assert server.asked.total() < 100


async def test_endless_refusals_stop_the_batch_after_a_quarter_of_an_hour(run_once) -> None:
    clock = BatchClock()
    async with BatchServer(most=0) as server:
        with pytest.raises(RateLimitedError):
            await run_once(server, batch_file(3), clock=clock)
    assert 900 < clock.elapsed < 1000
    assert server.refused < 300


async def test_waits_are_jittered_and_grow(run_once) -> None:
    clock = BatchClock()
    async with BatchServer(replies=lambda prompt, times: (500, b"") if times < 5 else None) as server:
        await run_once(server, batch_file(1), clock=clock)
    assert 0.5 * 15.5 <= clock.elapsed <= 15.5  # 0.5 + 1 + 2 + 4 + 8
