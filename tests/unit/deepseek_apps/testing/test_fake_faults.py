"""Faults of the fake over real sockets: what arrives, what breaks, and that nothing is left behind."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import httpx2
import openai
import pytest
from fake_asking import HI, deltas, events, post

from deepseek_apps.testing import FakeDeepSeek
from deepseek_apps.testing.failures import FAILURES


@pytest.mark.parametrize("kind", [402, 429, 500, 503, 418, *(name for name in FAILURES if str(name) == name)])
def test_every_failure_has_its_status_and_envelope(fake: FakeDeepSeek, kind: int | str) -> None:
    fake.fail(kind)
    response = post(fake)
    known = FAILURES.get(kind)
    assert response.status_code == (known.status if known else kind)
    assert len(response.headers["x-ds-trace-id"]) == 32
    if kind != "no_key":
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert post(fake).status_code == 200


def test_the_texts_clients_match_on(fake: FakeDeepSeek) -> None:
    fake.fail(402).fail("no_key").fail(429, "Rate limit reached for TPM").fail(404)
    assert post(fake).json()["error"] == {
        "message": "Insufficient Balance",
        "type": "unknown_error",
        "param": None,
        "code": "invalid_request_error",
    }
    assert post(fake).text == "Authentication Fails (governor)"
    assert post(fake).json()["error"]["message"] == "Rate limit reached for TPM"
    assert post(fake).content == b""


def test_an_unknown_failure_lists_the_known_ones(fake: FakeDeepSeek) -> None:
    with pytest.raises(ValueError, match="there are concurrency, content_risk"):
        fake.fail("teapot")


@pytest.mark.parametrize("kind", ["insufficient_system_resource", "content_filter"])
def test_some_failures_are_finish_reasons(fake: FakeDeepSeek, kind: str) -> None:
    fake.fail(kind, "Half an", times=2)
    choice = post(fake).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Half an", kind)
    assert events(post(fake, stream=True))[-1]["choices"][0]["finish_reason"] == kind


def test_failures_can_be_for_one_route(fake: FakeDeepSeek, client: openai.OpenAI) -> None:
    fake.fail(503, route="/models").reply("fine")
    assert post(fake).json()["choices"][0]["message"]["content"] == "fine"
    with pytest.raises(openai.InternalServerError):
        client.models.list()
    assert client.models.list().data


def test_keep_alives_come_before_streams_and_json(fake: FakeDeepSeek) -> None:
    fake.keep_alive(3).reply("a").keep_alive(2).reply("b")
    streamed = post(fake, stream=True)
    assert streamed.text.startswith(": keep-alive\n\n" * 3 + "data: ")
    assert len(deltas(streamed)) > 1
    whole = post(fake)
    assert whole.text.startswith("\n\n{")
    assert whole.json()["choices"]


def test_a_delay_is_waited_for(fake: FakeDeepSeek) -> None:
    fake.delay(0.1, per_chunk=0.02).reply(["a", "b"])
    started = time.monotonic()
    post(fake, stream=True)
    assert time.monotonic() - started > 0.2


@pytest.mark.parametrize("how", ["connection", "half_chunk"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_cut_breaks_the_connection(fake: FakeDeepSeek, how: str, stream: bool) -> None:
    fake.cut(2, how=how).reply("Hello")
    with pytest.raises(httpx2.RemoteProtocolError):
        post(fake, stream=stream)
    assert post(fake).status_code == 200


def test_a_cut_gives_the_chunks_before_it(fake: FakeDeepSeek, client: openai.OpenAI) -> None:
    fake.cut(3).reply(["Hel", "lo"], reasoning=["R"])
    stream = client.chat.completions.create(model="deepseek-flash", messages=HI, stream=True)
    deltas = []
    with pytest.raises(openai.APIConnectionError):
        deltas.extend(chunk.choices[0].delta for chunk in stream)
    assert [delta.content for delta in deltas] == [None, None, "Hel"]


def test_a_stream_can_end_without_done(fake: FakeDeepSeek) -> None:
    fake.cut(how="no_done").reply("Hello")
    text = post(fake, stream=True).text
    assert '"finish_reason":"stop"' in text
    assert "[DONE]" not in text


def test_silence_ends_when_the_client_leaves(fake: FakeDeepSeek, client: openai.OpenAI) -> None:
    fake.hang(2).reply(["Hel", "lo"])
    with pytest.raises(openai.APITimeoutError), client.with_options(timeout=0.1) as patient:
        list(patient.chat.completions.create(model="deepseek-flash", messages=HI, stream=True))
    assert fake.client_left.wait(5)


def test_silence_and_delays_end_with_the_fake() -> None:
    started = time.monotonic()
    with FakeDeepSeek(count_tokens=False) as fake:
        fake.delay(60).reply("late").hang().reply("never")
        askers = [threading.Thread(target=quietly, args=(fake.url,)) for _ in range(2)]
        for asker in askers:
            asker.start()
        while len(fake.requests) < 2:
            time.sleep(0.005)
    for asker in askers:
        asker.join(5)
        assert not asker.is_alive()
    assert time.monotonic() - started < 5


def quietly(url: str) -> None:
    headers = {"authorization": "Bearer sk-fake-deepseek"}
    body = {"model": "deepseek-flash", "messages": HI, "stream": True}
    with suppress(httpx2.HTTPError):
        httpx2.post(
            f"{url}/chat/completions", json=body, headers=headers, timeout=10, trust_env=False, verify=False
        )


def test_no_answer_no_body_and_a_wrong_type(fake: FakeDeepSeek) -> None:
    fake.disconnect().reply("a").empty_body().reply("b").content_type("application/octet-stream").fail(500)
    with pytest.raises(httpx2.RemoteProtocolError):
        post(fake)
    assert (post(fake).status_code, post(fake).headers["content-type"]) == (200, "application/octet-stream")


def test_raw_bytes_are_sent_as_they_are(fake: FakeDeepSeek) -> None:
    fake.raw(b"data: {", b'"a": 1}\n\n', content_type="text/event-stream", headers={"x-mine": "1"})
    fake.raw(status=307, headers={"location": "http://127.0.0.1:9/"})
    response = post(fake, anything="goes", messages=None)
    assert (response.text, response.headers["x-mine"]) == ('data: {"a": 1}\n\n', "1")
    assert post(fake).status_code == 307


def test_more_at_once_than_the_account_may_is_a_429() -> None:
    with FakeDeepSeek(concurrency=2, count_tokens=False) as fake:
        for _ in range(2):
            fake.hang(1).reply("held")
        askers = [threading.Thread(target=quietly, args=(fake.url,)) for _ in range(2)]
        for asker in askers:
            asker.start()
        while fake.peak_in_flight < 2:
            time.sleep(0.005)
        refused = post(fake)
        fake.configure(concurrency=10)
        assert post(fake).status_code == 200
    for asker in askers:
        asker.join(5)
    assert refused.status_code == 429
    assert refused.json()["error"]["message"].startswith(
        "Your current concurrency is 3, which exceeds your concurrency limit of 2 based on your remaining"
    )


def test_one_after_the_other_is_one_at_once() -> None:
    with (
        FakeDeepSeek(concurrency=1, count_tokens=False) as fake,
        httpx2.Client(trust_env=False, verify=False) as client,
    ):
        for stream in (True, False) * 20:
            body = {"model": "deepseek-flash", "messages": HI, "stream": stream}
            headers = {"authorization": f"Bearer {fake.api_key}"}
            assert client.post(f"{fake.url}/chat/completions", json=body, headers=headers).status_code == 200
        assert fake.peak_in_flight == 1


def test_what_was_not_asked_for_is_listed(fake: FakeDeepSeek) -> None:
    fake.reply("waiting")
    with pytest.raises(AssertionError, match="waiting"):
        fake.assert_all_used()
    post(fake)
    fake.assert_all_used()
    fake.cut()
    with pytest.raises(AssertionError, match="set them before it"):
        fake.assert_all_used()


def test_a_fault_without_a_reply_spoils_the_default_answer(fake: FakeDeepSeek) -> None:
    fake.cut(how="no_done")
    assert "[DONE]" not in post(fake, stream=True).text
    assert "[DONE]" in post(fake, stream=True).text


async def test_many_connections_at_once_asynchronously() -> None:
    import asyncio

    with FakeDeepSeek(count_tokens=False) as fake:
        async with openai.AsyncOpenAI(base_url=fake.url, api_key=fake.api_key) as client:

            async def ask(number: int) -> str | None:
                messages = [{"role": "user", "content": str(number)}]
                answer = await client.chat.completions.create(model="deepseek-flash", messages=messages)
                return answer.choices[0].message.content

            answers = await asyncio.gather(*(ask(number) for number in range(40)))
    assert answers == [f"You said: {number}" for number in range(40)]


def test_no_thread_outlives_the_fake() -> None:
    before = set(threading.enumerate())
    with FakeDeepSeek() as fake, httpx2.Client(trust_env=False, verify=False) as client:
        client.get(f"{fake.url}/models")  # a kept-alive connection
    assert set(threading.enumerate()) <= before
    with pytest.raises(RuntimeError, match="not running"):
        _ = fake.url
