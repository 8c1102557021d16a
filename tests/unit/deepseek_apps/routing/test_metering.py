"""What the ledger says of calls through real clients against a loopback server: whole, streamed, broken."""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from decimal import Decimal
from pathlib import Path

import openai
import pytest
from fake_deepseek import Reply, chunk, completion, error, event_stream, stream

from deepseek_apps import AsyncDeepSeek, DeepSeek, async_http_client, http_client
from deepseek_apps.cost import cost_of
from deepseek_apps.routing.ledger import Ledger, from_pico, ledger_path
from deepseek_apps.routing.run import run

MESSAGES = [{"role": "user", "content": "Hello"}]
FIELDS = ("backend", "server", "model", "path", "prompt", "hit", "output", "status", "outcome", "streamed")


@pytest.fixture
def client(fake):
    with DeepSeek(backend="hosted", base_url=fake.url, api_key="sk-test", max_retries=0) as client:
        yield client


def rows(*names: str) -> list[tuple[object, ...]]:
    with Ledger() as ledger:
        return ledger.rows(f"SELECT {', '.join(names or FIELDS)} FROM calls ORDER BY id")


def ask(client: DeepSeek, **options: object):
    return client.chat.completions.create(model="deepseek-flash", messages=MESSAGES, **options)


HELLO = ("hosted", "", "deepseek-flash", "/chat/completions", 212, 128, 3, 200, "ok")


def test_a_whole_answer_is_one_row(client) -> None:
    ask(client)
    assert rows() == [(*HELLO, 0)]


def test_a_streamed_answer_is_one_row(client) -> None:
    assert "".join(c.choices[0].delta.content or "" for c in ask(client, stream=True)) == "Hello."
    assert rows() == [(*HELLO, 1)]
    ((first, seconds),) = rows("first_seconds", "seconds")
    assert 0 < first <= seconds


def test_the_row_says_what_cost_says(client) -> None:
    reply = ask(client)
    ((at, usd, cny, saved),) = rows("at", "usd", "cny", "saved_cache_usd")
    from datetime import UTC, datetime

    cost = cost_of(reply.usage.model_dump(), model=reply.model, at=datetime.fromtimestamp(at, UTC))
    assert from_pico(usd) == cost.total
    assert from_pico(saved) == cost.saved_by_cache
    assert cny > usd


def test_the_answer_says_what_it_cost(client, fake) -> None:
    raw = client.chat.completions.with_raw_response.create(model="deepseek-flash", messages=MESSAGES)
    amount, currency = raw.headers["x-deepseek-apps-cost"].split()
    assert from_pico(rows("usd")[0][0]) == Decimal(amount)
    assert currency == "USD"
    assert raw.parse().choices[0].message.content == "Hello."
    assert raw.elapsed.total_seconds() > 0
    fake.script.append(stream())
    with client.chat.completions.with_streaming_response.create(
        model="deepseek-flash", messages=MESSAGES, stream=True
    ) as streamed:
        assert "x-deepseek-apps-cost" not in streamed.headers


def test_lists_and_balances_are_no_calls(client) -> None:
    client.models.list()
    assert not ledger_path().exists()


def test_a_refusal_is_a_row_that_cost_nothing(client, fake) -> None:
    fake.script.append(error(400, "bad"))
    with pytest.raises(openai.BadRequestError):
        ask(client)
    assert rows("model", "status", "outcome", "usd", "output") == [("deepseek-flash", 400, "failed", 0, 0)]


def test_a_server_that_is_not_there_is_a_row(fake) -> None:
    gone = DeepSeek(backend="server", base_url="http://127.0.0.1:9", model="m", max_retries=0)
    with gone as client, pytest.raises(openai.APIConnectionError):
        ask(client)
    assert rows("backend", "status", "outcome", "usd") == [("server", 0, "failed", 0)]


def test_every_attempt_is_a_row(client, fake) -> None:
    fake.script.append(error(503, "busy"))
    ask(client.with_options(max_retries=1))
    assert rows("status", "outcome") == [(503, "failed"), (200, "ok")]


def test_an_abandoned_stream_is_estimated(client, fake) -> None:
    waiting = threading.Event()
    fake.script.append(event_stream(*[chunk({"content": "a"})] * 5, waiting))
    reply = ask(client, stream=True)
    next(reply)
    assert reply.response.is_closed is False
    reply.close()
    waiting.set()
    ((outcome, estimated, prompt, output, usd),) = rows("outcome", "estimated", "prompt", "output", "usd")
    assert (outcome, estimated) == ("abandoned", 1)
    assert prompt > 0
    assert 0 <= output <= 4
    assert usd > 0


def test_a_cut_stream_is_estimated(client, fake) -> None:
    fake.script.append(event_stream(*[chunk({"content": "a"})] * 5, cut=True))
    with pytest.raises(openai.APIConnectionError):
        list(ask(client, stream=True))
    assert rows("outcome", "estimated", "output") == [("cut", 1, 4)]


def test_an_error_inside_a_stream_is_a_failure(client, fake) -> None:
    fake.script.append(event_stream(b'data: {"error": {"message": "no"}}\n\n', b"data: [DONE]\n\n"))
    with pytest.raises(openai.APIError):
        list(ask(client, stream=True))
    assert rows("outcome", "status") == [("failed", 200)]


def test_a_compressed_answer_is_read_too(client, fake) -> None:
    data = gzip.compress(completion().parts[0])
    fake.script.append(Reply((data,), headers={"content-encoding": "gzip"}))
    assert ask(client).choices[0].message.content == "Hello."
    assert rows() == [(*HELLO, 0)]


def test_a_run_names_its_calls(client) -> None:
    with run(recipe="rag", name="monday") as outer:
        ask(client)
        with run(name="inner"):
            ask(client)
    ask(client)
    assert rows("recipe", "run") == [("rag", "monday"), ("rag", "inner"), ("", "")]
    assert outer.calls == 2
    assert outer.spent == sum(from_pico(usd) for (usd,) in rows("usd")[:2])


def test_no_ledger_if_so_set(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_LEDGER", "false")
    with http_client("hosted", base_url=fake.url, api_key="k") as client, run() as this:
        reply = client.post("chat/completions", json={"model": "deepseek-flash", "messages": MESSAGES})
    assert reply.headers["x-deepseek-apps-cost"]
    assert this.spent > 0
    assert not ledger_path().exists()


def test_a_ledger_that_cannot_be_written_breaks_no_call(client, caplog) -> None:
    path = ledger_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 100)
    with caplog.at_level(logging.WARNING):
        assert ask(client).choices[0].message.content == "Hello."
        ask(client)
    assert sum("not recorded" in record.message for record in caplog.records) <= 1


def test_bytes_of_a_stream_are_not_held_back(client, fake) -> None:
    first, more = chunk({"content": "a"}), threading.Event()
    fake.script.append(event_stream(first, more, chunk({}, "stop"), b"data: [DONE]\n\n"))
    reply = ask(client, stream=True)
    assert next(reply).choices[0].delta.content == "a"
    more.set()
    assert len(list(reply)) == 1


async def test_asynchronous_calls_are_the_same_rows(fake) -> None:
    async with AsyncDeepSeek(backend="hosted", base_url=fake.url, api_key="k", max_retries=0) as client:
        whole = client.chat.completions.create(model="deepseek-flash", messages=MESSAGES)
        assert (await whole).choices[0].message.content == "Hello."
        streamed = await client.chat.completions.create(
            model="deepseek-flash", messages=MESSAGES, stream=True
        )
        assert [event async for event in streamed]
    assert rows() == [(*HELLO, 0), (*HELLO, 1)]


async def test_a_cancelled_task_is_abandoned(fake) -> None:
    never = threading.Event()
    fake.script.append(Reply((never,)))
    async with async_http_client("hosted", base_url=fake.url, api_key="k") as client:
        body = {"model": "deepseek-flash", "messages": MESSAGES}
        task = asyncio.create_task(client.post("chat/completions", json=body))
        while not fake.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    never.set()
    assert rows("outcome") == [("abandoned",)]


def test_no_text_is_in_the_ledger(client) -> None:
    client.chat.completions.create(
        model="deepseek-flash", messages=[{"role": "user", "content": "SECRETQUESTION"}]
    )
    files = b"".join(path.read_bytes() for path in Path(ledger_path()).parent.iterdir())
    assert b"SECRETQUESTION" not in files
    assert b"Hello" not in files
