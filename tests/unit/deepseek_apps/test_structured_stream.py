"""Streams of structured output: dicts grow, instances come whole, and raw parts add up."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import pytest
from fake_deepseek import fake_deepseek
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from structured_replies import GOOD, HALF, JOKE, Joke, called, model, said, streamed, streamed_call

from deepseek_apps.structured import structured_output

SCHEMA = Joke.model_json_schema()
PIECES = ('{"setup"', ': "Wh', 'y?", "punch', 'line": "Because."}')
GROWTH = [{}, {"setup": "Wh"}, {"setup": "Why?"}, JOKE.model_dump()]


def test_dicts_grow() -> None:
    with fake_deepseek(streamed("Sure:\n", *PIECES)) as fake:
        assert list(structured_output(model(fake), SCHEMA).stream("hi")) == GROWTH


def test_arguments_grow() -> None:
    with fake_deepseek(streamed_call(*PIECES)) as fake:
        runnable = structured_output(model(fake), SCHEMA, method="function_calling")
        assert list(runnable.stream("hi")) == GROWTH


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_instances_come_whole(method: Any) -> None:
    reply = streamed_call(*PIECES) if method == "function_calling" else streamed(*PIECES)
    with fake_deepseek(reply) as fake:
        assert list(structured_output(model(fake), Joke, method=method).stream("hi")) == [JOKE]


async def test_async_streams_the_same() -> None:
    with fake_deepseek(streamed(*PIECES), streamed(HALF), said(GOOD)) as fake:
        chat = model(fake)
        runnable = structured_output(chat, SCHEMA)
        assert [part async for part in runnable.astream("hi")] == GROWTH
        assert [part async for part in runnable.astream("hi")][-1] == JOKE.model_dump()
        await chat.root_async_client.close()


def test_a_stream_that_does_not_fit_ends_with_the_repaired_value() -> None:
    with fake_deepseek(streamed(HALF), said(GOOD), streamed(HALF), said(HALF)) as fake:
        runnable = structured_output(model(fake), SCHEMA)
        assert list(runnable.stream("hi")) == [{"setup": "Why?"}, JOKE.model_dump()]
        with pytest.raises(OutputParserException):
            list(runnable.stream("hi"))


@pytest.mark.parametrize("schema", [SCHEMA, Joke])
@pytest.mark.parametrize(
    ("replies", "text"),
    [([streamed(*PIECES)], GOOD), ([streamed(HALF), said(GOOD)], GOOD), ([streamed("no"), said(HALF)], HALF)],
)
def test_raw_parts_add_up(schema: Any, replies: list[Any], text: str) -> None:
    with fake_deepseek(*replies) as fake:
        whole = reduce(add, structured_output(model(fake), schema, include_raw=True).stream("hi"))
    assert isinstance(whole["raw"], AIMessage)
    assert whole["raw"].text == text
    assert whole["raw"].response_metadata["structured_output"]["repaired"] == (len(replies) == 2)
    assert whole["parsed"] in ((JOKE, JOKE.model_dump()) if text == GOOD else (None,))
    assert (whole["parsing_error"] is None) == (text == GOOD)


def test_an_empty_stream_is_an_empty_answer() -> None:
    with fake_deepseek(streamed(), said(GOOD)) as fake:
        assert list(structured_output(model(fake), SCHEMA).stream("hi")) == [JOKE.model_dump()]


class Runs(BaseCallbackHandler):
    """Remembers who ran under whom, and with which tags."""

    def __init__(self) -> None:
        self.chains: list[Any] = []
        self.models: list[tuple[Any, list[str], dict[str, Any]]] = []

    def on_chain_start(self, *args: Any, run_id: Any, **kwargs: Any) -> None:
        self.chains.append(run_id)

    def on_chat_model_start(self, *args: Any, parent_run_id: Any, tags: Any, **kwargs: Any) -> None:
        self.models.append((parent_run_id, tags, kwargs["options"]))


@pytest.mark.parametrize("stream", [False, True])
def test_both_calls_are_children_of_one_run(stream: bool) -> None:
    runs = Runs()
    first = streamed(HALF) if stream else said(HALF)
    with fake_deepseek(first, said(GOOD)) as fake:
        runnable = structured_output(model(fake), Joke)
        config: Any = {"callbacks": [runs], "tags": ["mine"]}
        list(runnable.stream("hi", config)) if stream else runnable.invoke("hi", config)
    assert {parent for parent, _, _ in runs.models} == set(runs.chains)
    assert len(runs.chains) == 1
    tags = [tags for _, tags, _ in runs.models]
    assert ["structured:repair" in each for each in tags] == [False, True]
    assert all("mine" in each for each in tags)
    assert runs.models[0][2]["ls_structured_output_format"]["schema"]["title"] == "Joke"


async def test_events_show_the_models_tokens() -> None:
    with fake_deepseek(streamed(*PIECES)) as fake:
        chat = model(fake)
        events = [event async for event in structured_output(chat, SCHEMA).astream_events("hi")]
        await chat.root_async_client.close()
    texts = [str(e["data"]["chunk"].text) for e in events if e["event"] == "on_chat_model_stream"]
    assert "".join(texts) == GOOD
    assert events[-1]["data"]["output"] == JOKE.model_dump()


def test_batches_keep_their_order() -> None:
    with fake_deepseek(said(GOOD), said(GOOD)) as fake:
        chat = model(fake)
        assert structured_output(chat, Joke).batch(["a", "b"]) == [JOKE, JOKE]
        chat.root_client.close()


def test_calls_pass_what_the_caller_adds() -> None:
    with fake_deepseek(called(GOOD)) as fake:
        structured_output(model(fake), Joke, method="function_calling").invoke("hi", max_tokens=7)
    assert fake.asked[0].body["max_tokens"] == 7


def test_what_is_bound_reaches_every_method() -> None:
    with fake_deepseek(said(GOOD), called(GOOD)) as fake:
        for method in ("json_schema", "function_calling"):
            options: Any = {"method": method, "max_tokens": 7}
            assert model(fake).with_structured_output(Joke, **options).invoke("hi") == JOKE
    assert [request.body["max_tokens"] for request in fake.asked] == [7, 7]
