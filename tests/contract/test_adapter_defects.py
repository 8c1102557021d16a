"""What people report of langchain-deepseek, by the report's number: ours does it right, and 1.1.1 does not.

Each test runs over both. Theirs is expected to fail, strictly: once it passes there, the test has to go.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import langchain_core.exceptions as langchain
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.tools import tool
from langchain_deepseek import ChatDeepSeek as Theirs
from pydantic import BaseModel, Field

from deepseek_apps import ChatDeepSeek as Ours
from deepseek_apps.testing import FakeDeepSeek

Make: TypeAlias = Callable[..., Any]
RED_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


@tool
def weather(city: str) -> str:
    """Weather in a city."""
    return f"Rain in {city}."


class Step(BaseModel):
    """One step."""

    text: str = Field(description="What to do")


class Plan(BaseModel):
    """A plan."""

    steps: list[Step]
    title: str | None = None


@pytest.fixture
def fake() -> Iterator[FakeDeepSeek]:
    with FakeDeepSeek(reasoning_policy="reject", count_tokens=False) as fake:
        yield fake


@pytest.fixture(
    params=[Ours, pytest.param(Theirs, marks=pytest.mark.xfail(strict=True, reason="the reported defect"))],
    ids=["ours", "langchain-deepseek"],
)
def make(request: pytest.FixtureRequest, fake: FakeDeepSeek) -> Iterator[Make]:
    """Make a model of either class for the fake."""
    made: list[Any] = []

    def model(**parameters: Any) -> Any:
        where = {"base_url": fake.url, "api_key": fake.api_key}
        if request.param is Ours:
            where["backend"] = "hosted"
        made.append(request.param(**{"model": "deepseek-flash", "max_retries": 0, **where, **parameters}))
        return made[-1]

    yield model
    for each in made:
        each.root_client.close()


def tool_turn(reply: AIMessage) -> list[BaseMessage]:
    results = [ToolMessage("Rain.", tool_call_id=call["id"]) for call in reply.tool_calls]
    return [HumanMessage("Weather in Oslo?"), reply, *results]


@pytest.mark.parametrize("output_version", [None, "v1"])
def test_langchain_34166_37176_37713_reasoning_goes_back_in_tool_loops(
    make: Make, fake: FakeDeepSeek, output_version: str | None
) -> None:
    fake.reply(reasoning="Need the tool.", tool_calls=[("weather", {"city": "Oslo"})]).reply("Rain.")
    model = make(output_version=output_version).bind_tools([weather])
    model.invoke(tool_turn(model.invoke("Weather in Oslo?")))
    assert fake.requests[1].messages[1]["reasoning_content"] == "Need the tool."


def test_langchain_40769_a_forced_tool_works_though_thinking_is_on(make: Make, fake: FakeDeepSeek) -> None:
    fake.reply(tool_calls=[("weather", {"city": "Oslo"})])
    reply = make().bind_tools([weather], tool_choice="any").invoke("Weather in Oslo?")
    assert reply.tool_calls[0]["args"] == {"city": "Oslo"}
    assert reply.response_metadata["forced_tool_choice"] == "thinking disabled"


def test_langchain_29282_a_json_schema_is_answered(make: Make, fake: FakeDeepSeek) -> None:
    fake.reply('{"steps": [{"text": "go"}], "title": null}')
    structured = make().with_structured_output(Plan, method="json_schema")
    assert structured.invoke("Plan.") == Plan(steps=[Step(text="go")])


def test_langchain_39601_reasoning_streams_beside_a_json_format(make: Make, fake: FakeDeepSeek) -> None:
    fake.reply('{"a": 1}', reasoning=["I ", "think ", "so."])
    model = make().bind(response_format={"type": "json_object"})
    chunks = list(model.stream("Answer in json."))
    assert sum(bool(chunk.additional_kwargs.get("reasoning_content")) for chunk in chunks) == 3
    assert chunks[-1].response_metadata.get("model_provider", "deepseek") == "deepseek"
    assert add_ai_message_chunks(*chunks).response_metadata["model_provider"] == "deepseek"


def test_langchain_40029_strict_tools_reach_the_beta_base_from_the_documented_address(
    make: Make, fake: FakeDeepSeek
) -> None:
    make().bind_tools([weather], strict=True).invoke("Hi")
    assert fake.requests[0].base == "/beta"


def test_codewhale_938_definitions_are_inlined_for_strict_tools(make: Make, fake: FakeDeepSeek) -> None:
    function = {"name": "plan", "description": "Make a plan.", "parameters": Plan.model_json_schema()}
    make().bind_tools([{"type": "function", "function": function}], strict=True).invoke("Hi")
    sent = json.dumps(fake.requests[0].tools)
    assert "$defs" not in sent
    assert "What to do" in sent


@pytest.mark.parametrize("call", ["invoke", "stream"])
def test_langchain_29626_an_empty_body_is_a_named_error(make: Make, fake: FakeDeepSeek, call: str) -> None:
    fake.empty_body().reply("never")
    with pytest.raises(langchain.ModelConnectionError):
        list(getattr(make(), call)("Hi"))


async def test_langchain_29626_an_empty_body_is_a_named_error_asynchronously(
    make: Make, fake: FakeDeepSeek
) -> None:
    fake.empty_body().reply("never")
    model = make()
    try:
        with pytest.raises(langchain.ModelConnectionError):
            await model.ainvoke("Hi")
    finally:
        await model.root_async_client.close()


def test_langchain_30086_messages_are_counted(make: Make) -> None:
    assert make().get_num_tokens_from_messages([HumanMessage("Hi")]) == 31


def test_tokens_are_counted_without_a_download(make: Make) -> None:
    assert len(make().get_token_ids("Hello 世界")) == 3


def test_aider_4851_an_empty_account_is_a_langchain_error(make: Make, fake: FakeDeepSeek) -> None:
    fake.fail(402)
    with pytest.raises(langchain.ModelError, match="Insufficient Balance") as caught:
        make().invoke("Hi")
    assert not caught.value.is_retryable


def test_an_invalid_parameter_is_a_langchain_error(make: Make, fake: FakeDeepSeek) -> None:
    fake.fail(422)
    with pytest.raises(langchain.ModelInvalidRequestError):
        make().invoke("Hi")


def test_cline_1082_an_overflow_is_langchains_overflow(make: Make, fake: FakeDeepSeek) -> None:
    fake.fail("context_overflow")
    with pytest.raises(langchain.ContextOverflowError):
        make().invoke("Hi")


def test_no_other_providers_key_leaks(
    make: Make, fake: FakeDeepSeek, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-company")
    with contextlib.suppress(Exception):  # ours refuses to be made without a key
        make(api_key=None).invoke("Hi")
    assert all("sk-of-another-company" not in request.sent for request in fake.requests)


def test_a_prefix_is_completed(make: Make, fake: FakeDeepSeek) -> None:
    make().invoke([HumanMessage("Code."), AIMessage("```python\n", additional_kwargs={"prefix": True})])
    assert fake.requests[0].messages[-1]["prefix"] is True
    assert fake.requests[0].base == "/beta"


def test_a_prefix_in_a_dict_is_completed(make: Make, fake: FakeDeepSeek) -> None:
    make().invoke(
        [{"role": "user", "content": "Code."}, {"role": "assistant", "content": "x", "prefix": True}]
    )
    assert fake.requests[0].messages[-1]["prefix"] is True


def test_usage_comes_with_streams_of_other_servers(make: Make, fake: FakeDeepSeek) -> None:
    list(make().stream("Hi"))
    assert fake.requests[0].body["stream_options"] == {"include_usage": True}


def test_cache_keys_differ_by_backend(make: Make) -> None:
    one, other = make(), make(base_url="http://127.0.0.1:9/v1")
    assert one._get_llm_string() != other._get_llm_string()


@pytest.mark.parametrize("call", ["invoke", "stream"])
def test_cline_13348_tool_markup_in_the_text_is_read(make: Make, fake: FakeDeepSeek, call: str) -> None:
    markup = (
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="weather">\n<｜DSML｜parameter name="city" string="true">'
        "Oslo</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
    )
    fake.reply(f"Let me see.\n\n{markup}")
    model = make().bind_tools([weather])
    reply = model.invoke("Hi") if call == "invoke" else add_ai_message_chunks(*model.stream("Hi"))
    assert [(made["name"], made["args"]) for made in reply.tool_calls] == [("weather", {"city": "Oslo"})]
    assert "DSML" not in reply.text


def test_deepagents_3587_calls_have_ids(make: Make, fake: FakeDeepSeek) -> None:
    call = {"index": 0, "id": "", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    message = {"role": "assistant", "content": "", "tool_calls": [call, {**call, "index": 1}]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    fake.raw(json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode())
    ids = [made["id"] for made in make().bind_tools([weather]).invoke("Hi").tool_calls]
    assert len(set(ids)) == 2
    assert all(ids)


def test_ninerouter_773_developers_are_systems(make: Make, fake: FakeDeepSeek) -> None:
    developer = SystemMessage("Be terse.", additional_kwargs={"__openai_role__": "developer"})
    make().invoke([developer, HumanMessage("Hi")])
    assert fake.requests[0].messages[0]["role"] == "system"


def test_litellm_30722_other_providers_tools_are_left_out(make: Make, fake: FakeDeepSeek) -> None:
    make().bind(tools=[{"type": "web_search"}, *make().bind_tools([weather]).kwargs["tools"]]).invoke("Hi")
    assert [each["type"] for each in fake.requests[0].tools] == ["function"]


def test_reasonix_1906_lone_surrogates_do_not_break_the_request(make: Make, fake: FakeDeepSeek) -> None:
    assert make().invoke("broken \ud83d emoji").content


def test_images_are_refused_where_they_would_be_dropped(make: Make, fake: FakeDeepSeek) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{RED_PIXEL}"}}
    with pytest.raises(Exception, match="deepseek-v4-pro"):
        make(model="deepseek-v4-pro").invoke([HumanMessage([{"type": "text", "text": "What?"}, image])])
    assert not fake.requests


def test_max_completion_tokens_is_not_ignored(make: Make, fake: FakeDeepSeek) -> None:
    make().bind(max_completion_tokens=7).invoke("Hi")
    assert fake.requests[0].body["max_tokens"] == 7


def test_an_answer_given_up_half_way_is_a_retryable_error(make: Make, fake: FakeDeepSeek) -> None:
    fake.fail("insufficient_system_resource")
    with pytest.raises(langchain.ModelError) as caught:
        make().invoke("Hi")
    assert caught.value.is_retryable
