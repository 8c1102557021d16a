"""Chat replies: streamed and whole agree, and say what the engine did."""

from __future__ import annotations

import json

import pytest
from scripted_engine import ScriptedEngine
from server_client import CALL, USER, WEATHER, chat, chunks, fold, folded_whole, handler_for, post, read

from local_backend.sampling_params import SamplingDefaults

_CASES = {
    "plain": ("\n\nHello 你好 🙂", {}),
    "empty": ("", {}),
    "length": ("Hello", {"max_tokens": 3}),
    "cut character": ("你好", {"max_tokens": 5}),
    "stop": ("Hello world", {"stop": ["o w", "zz"]}),
    "half a stop string": ("Hello zz", {"stop": "zzz"}),
    "call": (f"Let me see.{CALL}", {"tools": [WEATHER]}),
    "forced call": (CALL, {"tools": [WEATHER], "tool_choice": "required"}),
    "json": ('```json\n{"a": 1}\n```', {"response_format": {"type": "json_object"}}),
}
_THINKING_CASES = {
    "thought": ("hm</think>\n\nHi", {}),
    "never ends": ("hm hm", {}),
    "stop spares reasoning": ("a stop</think>b stop c", {"stop": "stop"}),
    "thought and call": (f"hm</think>{CALL}", {"tools": [WEATHER]}),
    "switched off": ("Hi", {"thinking": {"type": "disabled"}}),
}


def _without_ids(folded):
    for call in folded["calls"]:
        assert call.pop("id").startswith("call_0")
    return folded


@pytest.mark.parametrize(
    ("script", "fields", "thinking"),
    [(*case, False) for case in _CASES.values()] + [(*case, True) for case in _THINKING_CASES.values()],
    ids=[*_CASES, *_THINKING_CASES],
)
def test_stream_folds_to_the_whole_reply(script, fields, thinking):
    handler = handler_for(ScriptedEngine(script, thinking=thinking))
    fields = {"messages": [{"role": "user", "content": "json"}], **fields}
    streamed, whole = fold(chunks(handler, **fields)), folded_whole(chat(handler, **fields))
    assert _without_ids(streamed) == _without_ids(whole)


def test_stop_string_is_cut_out_and_frees_the_engine():
    engine = ScriptedEngine("Hello world and much more")
    folded = fold(chunks(handler_for(engine), stop="o w"))
    assert (folded["message"]["content"], folded["finish"]) == ("Hell", "stop")
    assert engine.submitted[0].cancelled.is_set()
    assert engine.submitted[0].given == len("Hello w")


def test_no_chunk_ever_shows_part_of_a_stop_string():
    shown = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks(
        handler_for(ScriptedEngine("ab<en<end>")), stop="<end>"))  # fmt: skip
    assert shown == "ab<en"


def test_usage_splits_the_prompt_into_hit_and_miss():
    engine = ScriptedEngine("Hi")
    engine.cached = 4
    assert chat(handler_for(engine))["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 4},
        "prompt_cache_hit_tokens": 4,
        "prompt_cache_miss_tokens": 5,
    }


def test_tokens_without_text_are_counted():
    assert chat(handler_for(ScriptedEngine("好")), max_tokens=2)["usage"]["completion_tokens"] == 2


def test_reasoning_tokens_are_those_before_the_answer():
    usage = chat(handler_for(ScriptedEngine("ab</think>cde", thinking=True)))["usage"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": len("ab</think>")}


def test_usage_is_on_the_last_chunk_only():
    with_null = chunks(handler_for(ScriptedEngine("Hi")), stream_options={"include_usage": True})
    assert [chunk["usage"] is None for chunk in with_null] == [True] * (len(with_null) - 1) + [False]
    without = chunks(handler_for(ScriptedEngine("Hi")))
    assert ["usage" in chunk for chunk in without] == [False] * (len(without) - 1) + [True]


def test_first_chunk_and_repeated_members():
    stream = chunks(handler_for(ScriptedEngine("Hi")), model="deepseek-flash")
    assert stream[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    same = {(c["id"], c["created"], c["model"], c["system_fingerprint"], c["object"]) for c in stream}
    assert len(same) == 1
    assert stream[0]["model"] == "toy"


def test_what_a_request_leaves_open_is_the_publishers_choice() -> None:
    engine = ScriptedEngine()
    engine.sampling_defaults = SamplingDefaults(temperature=0.7, top_p=0.8, top_k=20)
    chat(handler_for(engine), temperature=0)
    params = engine.submitted[0].params
    assert (params.temperature, params.top_p, params.top_k) == (0, pytest.approx(0.8), 20)


def test_options_reach_the_sampler():
    engine = ScriptedEngine()
    wanted = {"temperature": 0.5, "top_p": 0.25, "top_k": 7, "seed": 3}
    chat(handler_for(engine), **wanted, max_completion_tokens=2, user_id="u")
    params = engine.submitted[0].params
    assert {name: getattr(params, name) for name in wanted} == wanted
    assert (params.max_tokens, params.stop_token_ids) == (2, engine.family.stop_token_ids)
    assert engine.submitted[0].cache_salt == "u"


def test_max_tokens_defaults_to_the_room_left():
    engine = ScriptedEngine()
    chat(handler_for(engine))
    assert engine.submitted[0].params.max_tokens == engine.max_model_len - 9


@pytest.mark.parametrize(
    "fields", [{"thinking": {"type": "enabled"}}, {"reasoning_effort": "max"}, {"thinking": None}]
)
def test_thinking_does_nothing_on_a_model_without_it(fields):
    engine = ScriptedEngine("Hi </think> there")
    reply = chat(handler_for(engine), **fields, temperature=0, tools=[WEATHER], tool_choice="required")
    assert "reasoning_content" not in reply["choices"][0]["message"]
    assert engine.submitted[0].params.temperature == 0


def test_prefix_keeps_the_newline_it_continues_with():
    messages = [*USER, {"role": "assistant", "content": "def f():", "prefix": True}]
    engine = ScriptedEngine("\n    pass")
    reply = chat(handler_for(engine), messages=messages)
    assert reply["choices"][0]["message"]["content"] == "\n    pass"
    assert engine.family.conversations[0].messages[-1].prefix


def test_unknown_fields_are_ignored():
    assert chat(handler_for(ScriptedEngine()), metadata={}, logit_bias={}, user="x", store=True)


def test_grammar_reaches_the_engine_and_a_bad_one_is_a_400():
    engine = ScriptedEngine('{"a": 1}')
    engine.family.grammar_text = 'start: "{" /[^}]*/ "}"'
    fields = {"messages": [{"role": "user", "content": "json"}], "response_format": {"type": "json_object"}}
    chat(handler_for(engine), **fields)
    assert engine.submitted[0].constraint is not None
    engine.family.grammar_text = "start: nonsense"
    status, body = read(post(handler_for(engine), {"model": "toy", **fields}))
    assert status == 400
    assert "output constraint cannot be compiled" in json.loads(body)["error"]["message"]
