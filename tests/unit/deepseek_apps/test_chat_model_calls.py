"""ChatDeepSeek while it is called, in all four ways of calling, answered by the loopback DeepSeek."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.tools import tool

import deepseek_apps
from deepseek_apps import ChatDeepSeek, async_http_client, http_client
from deepseek_apps.errors import BudgetExceededError, DeadlineExceededError, OutputError, SettingsError
from deepseek_apps.langchain_errors import ChatOverloadedError, ChatTimedOutError, ChatUnreachableError
from deepseek_apps.testing import FakeDeepSeek

Make: TypeAlias = Callable[..., ChatDeepSeek]
WAYS = ["invoke", "ainvoke", "stream", "astream"]
# Of the transport, not of the answer: streams learn their cost at the end, and each call has ids of its own.
PER_CALL = {"id", "trace_id", "cost", "token_usage"}


@tool
def weather(city: str) -> str:
    """Weather in a city."""
    return f"Rain in {city}."


async def ask(model: Any, way: str, question: Any = "Hi", **kwargs: Any) -> AIMessage:
    """Ask in one of the four ways; streams are folded."""
    if way == "invoke":
        return model.invoke(question, **kwargs)
    if way == "ainvoke":
        return await model.ainvoke(question, **kwargs)
    if way == "stream":
        return add_ai_message_chunks(*model.stream(question, **kwargs))
    return add_ai_message_chunks(*[chunk async for chunk in model.astream(question, **kwargs)])


async def listen(model: Any, way: str, heard: list[str]) -> None:
    """Stream in one of two ways; what was heard outlives an error."""
    if way == "stream":
        for chunk in model.stream("Hi"):
            heard += [chunk.text]
        return
    async for chunk in model.astream("Hi"):
        heard += [chunk.text]


def said(message: AIMessage) -> dict[str, Any]:
    """What has to be the same however one asks."""
    metadata = {key: value for key, value in message.response_metadata.items() if key not in PER_CALL}
    calls = [(call["name"], call["args"]) for call in message.tool_calls]
    usage = message.usage_metadata
    assert usage
    tokens = usage["input_tokens"], usage["output_tokens"], usage["output_token_details"]
    return {"text": message.text, "kept": message.additional_kwargs, "calls": calls, **metadata, "": tokens}


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_of_asking_gives_the_same_message(
    make_chat: Make, deepseek: FakeDeepSeek, way: str
) -> None:
    answers = [
        {"content": "Hello there.", "reasoning": "A greeting."},
        {"content": "Let me see.", "reasoning": "Look.", "tool_calls": [("weather", {"city": "Oslo"})] * 2},
        {"content": "Cut", "finish_reason": "length"},
        {"content": "", "tool_calls": [("weather", "{broken")]},
    ]
    model = make_chat().bind_tools([weather])
    for answer in answers:
        deepseek.reply(**answer, times=2)  # type: ignore[arg-type]
        assert said(await ask(model, way, user_id=f"{answer}")) == said(
            model.invoke("Hi", user_id=f"{answer}")
        )


@pytest.mark.parametrize("way", WAYS)
async def test_replies_say_who_answered(make_chat: Make, way: str) -> None:
    metadata = (await ask(make_chat(), way)).response_metadata
    assert metadata["backend"] == "hosted"
    assert (metadata["model_name"], metadata["model_provider"]) == ("deepseek-flash", "deepseek")
    assert metadata["trace_id"]
    assert "headers" not in metadata
    assert ("cost" in metadata) == (way in ("invoke", "ainvoke"))


@pytest.mark.parametrize("way", WAYS)
async def test_headers_are_there_when_asked_for(make_chat: Make, way: str) -> None:
    metadata = (await ask(make_chat(include_response_headers=True), way)).response_metadata
    assert metadata["headers"]["x-ds-trace-id"] == metadata["trace_id"]


@pytest.mark.parametrize("way", WAYS)
async def test_thinking_effort_and_user_reach_the_wire(
    make_chat: Make, deepseek: FakeDeepSeek, way: str
) -> None:
    model = make_chat(thinking=True, reasoning_effort="low", user_id="me", max_tokens=50, temperature=1)
    await ask(model, way)
    await ask(model, way, thinking=False, user_id="you")
    first, second = (request.body for request in deepseek.requests)
    assert (first["thinking"], first["reasoning_effort"]) == ({"type": "enabled"}, "low")
    assert (first["user_id"], first["max_tokens"], first["temperature"]) == ("me", 50, 1)
    assert (second["thinking"], second["user_id"]) == ({"type": "disabled"}, "you")
    assert ("stream" in first) == (way in ("stream", "astream"))


def test_options_of_one_call_go_where_they_belong(make_chat: Make, deepseek: FakeDeepSeek) -> None:
    make_chat().invoke(
        "Hi",
        extra_headers={"x-mine": "1"},
        extra_query={"q": "2"},
        extra_body={"top_k": 3},
        max_completion_tokens=4,
        stop=["x"],
    )
    request = deepseek.requests[0]
    assert (request.headers["x-mine"], request.query) == ("1", "q=2")
    assert request.body == {
        "model": "deepseek-flash",
        "messages": [{"role": "user", "content": "Hi"}],
        "top_k": 3,
        "max_tokens": 4,
        "stop": ["x"],
    }


def history() -> list[Any]:
    """A finished turn with thoughts, and an open one that called a tool."""
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "1"}
    return [
        HumanMessage("Hi"),
        AIMessage("Hello.", additional_kwargs={"reasoning_content": "greet"}),
        HumanMessage("Weather?"),
        AIMessage("", additional_kwargs={"reasoning_content": "look"}, tool_calls=[call]),
        ToolMessage("Rain.", tool_call_id="1"),
    ]


@pytest.mark.parametrize(
    ("echo", "sent"), [("all", ["greet", "look"]), ("tool_turns", [None, "look"]), ("never", [None, None])]
)
def test_which_reasoning_goes_back(make_chat: Make, deepseek: FakeDeepSeek, echo: str, sent: Any) -> None:
    make_chat(reasoning_echo=echo).bind_tools([weather]).invoke(history())
    turns = [message for message in deepseek.requests[0].messages if message["role"] == "assistant"]
    assert [turn.get("reasoning_content") or None for turn in turns] == sent


@pytest.mark.parametrize("way", WAYS)
async def test_thinking_gives_way_to_a_forced_tool(make_chat: Make, deepseek: FakeDeepSeek, way: str) -> None:
    model = make_chat(reasoning_effort="max").bind_tools([weather], tool_choice="weather")
    reply = await ask(model, way, "Weather in Oslo?")
    assert [call["name"] for call in reply.tool_calls] == ["weather"]
    assert reply.response_metadata["forced_tool_choice"] == "thinking disabled"
    body = deepseek.requests[0].body
    assert body["thinking"] == {"type": "disabled"}
    assert "reasoning_effort" not in body


@pytest.mark.parametrize("way", WAYS)
async def test_a_forced_tool_can_be_asked_for_in_words(
    make_chat: Make, deepseek: FakeDeepSeek, way: str
) -> None:
    deepseek.reply("I look.", reasoning="Hm.", tool_calls=[("weather", {"city": "Oslo"})])
    model = make_chat(forced_tool_choice="instruct").bind_tools([weather], tool_choice="any")
    reply = await ask(model, way)
    assert (reply.text, reply.additional_kwargs["reasoning_content"]) == ("I look.", "Hm.")
    assert reply.tool_calls[0]["args"] == {"city": "Oslo"}
    assert reply.response_metadata["forced_tool_choice"] == "instructed"
    assert deepseek.requests[0].body["tool_choice"] == "auto"


@pytest.mark.parametrize("way", WAYS)
async def test_a_second_attempt_is_one_answer_with_the_first(
    make_chat: Make, deepseek: FakeDeepSeek, way: str
) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    deepseek.reply("No.", reasoning="Hm. ", usage=usage)
    deepseek.reply(reasoning="Ok.", tool_calls=[("weather", {"city": "Oslo"})], usage=usage)
    model = make_chat(forced_tool_choice="instruct").bind_tools([weather], tool_choice="any")
    reply = await ask(model, way)
    assert (reply.text, reply.additional_kwargs["reasoning_content"]) == ("", "Hm. Ok.")
    assert reply.usage_metadata
    assert (reply.usage_metadata["input_tokens"], reply.usage_metadata["output_tokens"]) == (20, 10)
    metadata = reply.response_metadata
    assert (metadata["forced_tool_choice"], metadata["finish_reason"]) == ("instructed again", "tool_calls")
    assert (metadata["backend"], metadata["model_name"]) == ("hosted", "deepseek-flash")
    assert [message["role"] for message in deepseek.requests[1].messages[-2:]] == ["assistant", "user"]


def test_the_cost_of_two_attempts_is_their_sum(make_chat: Make, deepseek: FakeDeepSeek) -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    deepseek.reply("No.", usage=usage).reply(tool_calls=[("weather", {})], usage=usage)
    deepseek.reply("Hi.", usage=usage)
    model = make_chat(forced_tool_choice="instruct")
    both = model.bind_tools([weather], tool_choice="any").invoke("Hi").response_metadata
    one = float(model.invoke("Hi").response_metadata["cost"].removesuffix(" USD"))
    assert float(both["cost"].removesuffix(" USD")) == pytest.approx(2 * one)
    assert both["token_usage"]["prompt_tokens"] == 2_000_000


@pytest.mark.parametrize("way", WAYS)
async def test_two_answers_without_the_call_are_an_error(
    make_chat: Make, deepseek: FakeDeepSeek, way: str
) -> None:
    deepseek.reply("No.").reply("Never.")
    model = make_chat(forced_tool_choice="instruct").bind_tools([weather], tool_choice="weather")
    with pytest.raises(OutputError, match="did not call the tool 'weather'") as caught:
        await ask(model, way)
    assert caught.value.output == "Never."
    assert "disable_thinking" in caught.value.help_message


def test_thoughts_are_not_held_back_while_a_call_is_awaited(make_chat: Make, deepseek: FakeDeepSeek) -> None:
    deepseek.delay(0, per_chunk=0.02).reply(
        reasoning=["Hm. "] * 3, tool_calls=[("weather", {"city": "Oslo"})]
    )
    model = make_chat(forced_tool_choice="instruct").bind_tools([weather], tool_choice="any")
    stream = model.stream("Hi")
    thoughts = [next(stream).additional_kwargs.get("reasoning_content") for _ in range(3)]
    assert thoughts == ["Hm. "] * 3
    assert list(stream)[-1].chunk_position == "last"


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_given_up_half_way_is_kept_in_the_error(
    make_chat: Make, deepseek: FakeDeepSeek, way: str
) -> None:
    deepseek.reply("Half an", reasoning="Hm.", finish_reason="insufficient_system_resource")
    with pytest.raises(ChatOverloadedError, match="half-way") as caught:
        await ask(make_chat(), way)
    partial = caught.value.partial
    assert partial is not None
    assert (partial.text, partial.additional_kwargs["reasoning_content"]) == ("Half an", "Hm.")
    assert caught.value.is_retryable


@pytest.mark.parametrize("way", WAYS)
async def test_failures_before_the_first_byte_are_tried_again(
    make_chat: Make, deepseek: FakeDeepSeek, way: str
) -> None:
    deepseek.fail(503).reply("Hello.")
    assert (await ask(make_chat(max_retries=1), way)).text == "Hello."
    deepseek.fail(503)
    with pytest.raises(ChatOverloadedError, match="too busy") as caught:
        await ask(make_chat(), way)
    assert caught.value.partial is None


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_breaks_off_is_an_error_after_what_came(
    make_chat: Make, deepseek: FakeDeepSeek, way: str
) -> None:
    deepseek.cut(3).reply(["Hel", "lo ", "there"])
    came: list[str] = []
    with pytest.raises(ChatUnreachableError, match="broke off"):
        await listen(make_chat(max_retries=2, thinking=False), way, came)
    assert "".join(came) == "Hello "
    assert len(deepseek.requests) == 1


@pytest.mark.parametrize("where", ["finish", "trailing"])
def test_usage_is_in_streams_wherever_the_server_puts_it(where: Any) -> None:
    with FakeDeepSeek(count_tokens=False, usage_chunk=where) as fake:
        model = ChatDeepSeek(backend="hosted", base_url=fake.url, api_key=fake.api_key)
        chunks = list(model.stream("Hi"))
        assert sum(bool(chunk.usage_metadata) for chunk in chunks) == 1
        assert add_ai_message_chunks(*chunks).usage_metadata == model.invoke("Hi").usage_metadata


@pytest.mark.parametrize(("field", "kwarg"), [(False, None), (None, False)])
def test_usage_is_not_asked_for_when_declined(
    make_chat: Make, deepseek: FakeDeepSeek, field: Any, kwarg: Any
) -> None:
    list(make_chat(stream_usage=field).stream("Hi", stream_usage=kwarg))
    assert "stream_options" not in deepseek.requests[0].body


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_left_early_frees_its_connection(
    make_chat: Make, deepseek: FakeDeepSeek, way: str
) -> None:
    deepseek.delay(0, per_chunk=0.02).reply(["word "] * 500)
    if way == "stream":
        chunks = make_chat().stream("Hi")
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]
    else:
        achunks = make_chat().astream("Hi")
        await anext(achunks)
        await achunks.aclose()  # type: ignore[attr-defined]
    assert deepseek.client_left.wait(1)


@pytest.mark.parametrize("way", WAYS)
async def test_a_deadline_ends_the_whole_call(make_chat: Make, deepseek: FakeDeepSeek, way: str) -> None:
    deepseek.keep_alive(50, every=0.05).reply("late")
    start = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"deadline of 0\.15 s"):
        await ask(make_chat(deadline=0.15, max_retries=2), way)
    assert time.monotonic() - start < 1
    assert len(deepseek.requests) == 1
    assert not any(name.startswith("x-deepseek-apps") for name in deepseek.requests[0].headers)


@pytest.mark.parametrize("way", WAYS)
async def test_one_call_can_be_less_patient(make_chat: Make, deepseek: FakeDeepSeek, way: str) -> None:
    deepseek.delay(1).reply("late")
    with pytest.raises(ChatTimedOutError, match="sent nothing for longer"):
        await ask(make_chat(), way, timeout=0.1)


@pytest.mark.parametrize("way", WAYS)
async def test_one_client_of_ours_is_enough_for_every_way(deepseek: FakeDeepSeek, way: str) -> None:
    with http_client("hosted", base_url=deepseek.url, api_key=deepseek.api_key) as client:
        model = ChatDeepSeek(http_client=client)
        assert model.root_client._client is client
        assert (await ask(model, way)).text == "You said: Hi"
        await model.root_async_client.close()
    async with async_http_client("hosted", base_url=deepseek.url, api_key=deepseek.api_key) as other:
        model = ChatDeepSeek(http_async_client=other)
        assert model.root_async_client._client is other
        assert (await ask(model, way)).text == "You said: Hi"
        model.root_client.close()


def test_connections_can_be_made_by_a_client_of_ones_own(make_chat: Make, deepseek: FakeDeepSeek) -> None:
    seen: list[str] = []
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [lambda request: seen.append(request.url.path)]}
    with httpx2.Client(event_hooks=hooks, headers={"authorization": "Bearer of-mine"}) as client:
        assert make_chat(http_client=client).invoke("Hi").content == "You said: Hi"
        assert not client.is_closed
    assert seen == ["/chat/completions"]
    assert deepseek.requests[0].headers["authorization"] == f"Bearer {deepseek.api_key}"


def test_a_client_of_the_wrong_kind_is_refused(make_chat: Make) -> None:
    with pytest.raises(SettingsError, match="AsyncClient"):
        make_chat(http_client=httpx2.AsyncClient())


@pytest.mark.parametrize("way", WAYS)
async def test_a_budget_stops_every_way_of_asking(make_chat: Make, deepseek: FakeDeepSeek, way: str) -> None:
    with deepseek_apps.run(budget=0), pytest.raises(BudgetExceededError, match="budget of 0 USD"):
        await ask(make_chat(max_retries=2), way)
    assert not deepseek.requests


@pytest.mark.parametrize("way", WAYS)
async def test_another_backend_steps_in_and_the_reply_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, deepseek: FakeDeepSeek, way: str
) -> None:
    deepseek.fail(503)
    with FakeDeepSeek(api_key="", count_tokens=False) as second:
        (tmp_path / "config.toml").write_text(f'[servers.second]\nbase_url = "{second.url}"\n')
        monkeypatch.setenv("DEEPSEEK_APPS_BASE_URL", deepseek.url)
        monkeypatch.setenv("DEEPSEEK_APPS_SERVER_API_KEY", deepseek.api_key)
        model = ChatDeepSeek(backend="auto", model="deepseek-flash", max_retries=0)
        reply = await ask(model, way)
        model.root_client.close()
        await model.root_async_client.close()
        assert reply.text == "You said: Hi"
        route = reply.response_metadata["route"]
        assert route.startswith(f"server:second {second.url} after server {deepseek.url}: 503")


class Listener(BaseCallbackHandler):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        assert isinstance(kwargs["chunk"].message, AIMessageChunk)
        self.heard.append(token)


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_tokens_are_told_to_callbacks(make_chat: Make, deepseek: FakeDeepSeek, way: str) -> None:
    deepseek.reply(["Hel", "lo"])
    listener = Listener()
    await ask(make_chat(thinking=False), way, config={"callbacks": [listener]})
    assert "".join(listener.heard) == "Hello"
