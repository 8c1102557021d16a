"""Replies and streams to LangChain's messages."""

from __future__ import annotations

from functools import reduce
from operator import add

import pytest
from langchain_core.language_models._utils import _update_message_content_to_blocks
from langchain_core.messages import AIMessageChunk

from deepseek_apps.errors import OverloadedError
from deepseek_apps.wire import ChunkReader, message_of

DSML = """<｜DSML｜tool_calls>
<｜DSML｜invoke name="f">
<｜DSML｜parameter name="k" string="true">v</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜tool_calls>"""


def body(message, reason="stop", **extra):
    return {"model": "m", "choices": [{"message": message, "finish_reason": reason}], **extra}


def event(delta, reason=None, **extra):
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **extra}


def stream(*events, tools=True):
    reader = ChunkReader(tools_declared=tools)
    return [chunk for one in events for chunk in reader.read(one)] + reader.finish()


def folded(*events, tools=True):
    return reduce(add, [*stream(*events, tools=tools), AIMessageChunk(content="", chunk_position="last")])


def call_delta(arguments, *, index=0, name=None, call_id=None):
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"index": index, "function": function} | ({"id": call_id} if call_id else {})]}


def test_everything_a_reply_says() -> None:
    message = message_of(
        body(
            {"content": "a", "reasoning_content": "R"},
            id="r1",
            system_fingerprint="fp",
            usage={"prompt_tokens": 2, "completion_tokens": 1},
        ),
        tools_declared=False,
    )
    assert (message.content, message.additional_kwargs) == ("a", {"reasoning_content": "R"})
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 3
    assert message.response_metadata == {
        "model_provider": "deepseek",
        "model_name": "m",
        "id": "r1",
        "system_fingerprint": "fp",
        "finish_reason": "stop",
    }


@pytest.mark.parametrize(
    "message", [{}, None, {"content": None, "reasoning_content": None, "tool_calls": None}]
)
def test_empty_replies(message) -> None:
    read = message_of(body(message), tools_declared=True)
    assert (read.content, read.additional_kwargs, read.tool_calls) == ("", {}, [])


@pytest.mark.parametrize("choices", [[], None])
def test_a_reply_without_choices_is_retryable(choices) -> None:
    with pytest.raises(OverloadedError, match="no choice 0: busy"):
        message_of({"choices": choices, "error": {"message": "busy"}}, tools_declared=False)


def test_broken_arguments_are_invalid_calls_with_ids() -> None:
    calls = [{"function": {"name": "f", "arguments": '{"a'}}, {"id": "", "function": {"name": "g"}}]
    message = message_of(body({"tool_calls": calls}), tools_declared=True)
    assert message.invalid_tool_calls[0]["args"] == '{"a'
    assert "unusable" in (message.invalid_tool_calls[0]["error"] or "")
    assert message.tool_calls[0]["args"] == {}
    assert message.invalid_tool_calls[0]["id"] != message.tool_calls[0]["id"] != ""


def test_a_call_cut_at_max_tokens_is_never_run() -> None:
    message = folded(
        event(call_delta('{"path": "a", "text": "hal', name="write", call_id="c")), event({}, "length")
    )
    assert message.tool_calls == []
    assert message.invalid_tool_calls[0]["id"] == "c"


def test_servers_that_repeat_ids_and_names() -> None:
    message = folded(
        *(event(call_delta(a, name="f", call_id="c")) for a in ('{"a"', ": 1}")), event({}, "stop")
    )
    assert message.tool_calls == [{"name": "f", "args": {"a": 1}, "id": "c", "type": "tool_call"}]


def test_servers_without_index() -> None:
    first = {"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": '{"a"'}}]}
    more = {"tool_calls": [{"function": {"arguments": ": 1}"}}]}
    second = {"tool_calls": [{"id": "c2", "function": {"name": "g", "arguments": {"b": 2}}}]}
    message = folded(event(first), event(more), event(second), event({}, "tool_calls"))
    assert [(c["id"], c["args"]) for c in message.tool_calls] == [("c1", {"a": 1}), ("c2", {"b": 2})]


def test_servers_that_give_every_call_the_same_index() -> None:
    deltas = [call_delta("{}", name=name, call_id=name) for name in "fg"]
    assert [c["name"] for c in folded(*map(event, deltas), event({}, "stop")).tool_calls] == ["f", "g"]


def test_calls_and_reasoning_stay_apart_under_v1() -> None:
    chunks = stream(
        event({"reasoning_content": "R"}),
        event(call_delta("{}", name="f", call_id="c")),
        event({}, "tool_calls"),
    )
    blocks = [_update_message_content_to_blocks(chunk, "v1") for chunk in chunks]
    for place, chunk in enumerate(blocks):
        for block in chunk.content:
            block.setdefault("index", place)
    message = reduce(add, [*blocks, AIMessageChunk(content=[], chunk_position="last")])
    assert [block["type"] for block in message.content] == ["reasoning", "tool_call"]


@pytest.mark.parametrize("trailing", [True, False])
def test_usage_is_on_one_chunk(trailing) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    events = [event({"content": "a"}, usage=usage), event({}, "stop", usage=usage)]
    events += [{"choices": [], "usage": usage}] if trailing else []
    assert [chunk.usage_metadata is not None for chunk in stream(*events)] == [False, True]


def test_a_stream_that_breaks_off_gives_what_it_had() -> None:
    message = folded(event({"content": "a <｜DS"}), tools=True)
    assert message.content == "a <｜DS"
    assert "finish_reason" not in message.response_metadata


def test_logprobs_add_up() -> None:
    def said(text):
        choice = {
            "delta": {"content": text},
            "logprobs": {"content": [{"token": text}], "reasoning_content": None},
        }
        return {"choices": [choice]}

    message = folded(said("a"), said("b"), event({}, "stop"))
    assert message.response_metadata["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}


def test_markup_becomes_calls_only_where_tools_were_declared() -> None:
    message = message_of(body({"content": f"Well.\n\n{DSML}"}), tools_declared=True)
    assert (message.content, message.tool_calls[0]["args"]) == ("Well.", {"k": "v"})
    assert message.response_metadata["finish_reason"] == "tool_calls"
    assert message.response_metadata["tool_calls_recovered"] is True
    assert message_of(body({"content": DSML}), tools_declared=False).content == DSML


def test_markup_cut_at_max_tokens_is_an_invalid_call() -> None:
    cut = DSML[: DSML.index("v</")] + "hal"
    message = message_of(body({"content": cut}, "length"), tools_declared=True)
    assert (message.tool_calls, message.invalid_tool_calls[0]["name"]) == ([], "f")
    assert message.response_metadata["finish_reason"] == "length"
