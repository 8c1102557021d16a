"""Fill in the middle: the classic completion shape."""

from __future__ import annotations

import json

import pytest
from scripted_engine import ScriptedEngine
from server_client import chunks, handler_for, post, read

from local_backend.errors import UnsupportedModelError

_PATH = "/beta/completions"


def _complete(engine, **fields):
    status, body = read(
        post(handler_for(engine), {"model": "deepseek-chat", "prompt": "def ", **fields}, _PATH)
    )
    assert status == 200, body
    return json.loads(body)


def test_whole_reply():
    engine = ScriptedEngine("f(x)")
    reply = _complete(engine, suffix=": pass")
    assert engine.tokenizer.decode(engine.submitted[0].prompt) == "def <hole>: pass"
    assert (reply["object"], reply["model"]) == ("text_completion", "toy")
    assert reply["choices"] == [{"index": 0, "text": "f(x)", "logprobs": None, "finish_reason": "stop"}]
    assert reply["usage"]["completion_tokens"] == 4
    assert reply["usage"]["prompt_cache_miss_tokens"] == reply["usage"]["prompt_tokens"] == 16


@pytest.mark.parametrize(
    ("fields", "text", "finish"),
    [
        ({}, "f(x): 你好", "stop"),
        ({"stop": "x)"}, "f(", "stop"),
        ({"stop": ["x)?"]}, "f(x): 你好", "stop"),
        ({"max_tokens": 2}, "f(", "length"),
        ({"echo": True}, "def f(x): 你好", "stop"),
    ],
)
def test_stream_folds_to_the_whole_reply(fields, text, finish):
    engine = ScriptedEngine("f(x): 你好")
    whole = _complete(engine, **fields)
    stream = chunks(handler_for(engine), _PATH, prompt="def ", **fields)
    assert "".join(chunk["choices"][0]["text"] for chunk in stream) == whole["choices"][0]["text"] == text
    assert stream[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == finish
    assert stream[-1]["usage"] == whole["usage"]


def test_logprobs_are_lists_with_offsets_into_the_text():
    logprobs = _complete(ScriptedEngine("ab"), logprobs=1, echo=True)["choices"][0]["logprobs"]
    assert logprobs == {
        "tokens": ["a", "b"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"a": -0.5}, {"b": -0.5}],
        "text_offset": [4, 5],
    }


def test_a_stop_strings_tokens_are_not_reported():
    logprobs = _complete(ScriptedEngine("ab;;c"), logprobs=0, stop=";;")["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", "b"]


def test_include_usage_adds_null_to_the_other_chunks():
    stream = chunks(
        handler_for(ScriptedEngine("ab")), _PATH, prompt="x", stream_options={"include_usage": True}
    )
    assert [chunk["usage"] is None for chunk in stream] == [True, True, False]


def test_options_reach_the_sampler():
    engine = ScriptedEngine()
    _complete(engine, temperature=0, top_p=0.5, top_k=3, seed=9, user_id="u")
    params, salt = engine.submitted[0].params, engine.submitted[0].cache_salt
    assert (params.temperature, params.top_p, params.top_k, params.seed, salt) == (0, 0.5, 3, 9, "u")


def test_a_model_without_the_format_says_so():
    engine = ScriptedEngine()

    def fim(prefix, suffix):
        raise UnsupportedModelError("no fill-in-the-middle tokens", help_message="Use a coder model.")

    engine.family.fim = fim
    status, body = read(post(handler_for(engine), {"model": "toy", "prompt": "x"}, _PATH))
    assert status == 400
    assert "Use a coder model." in json.loads(body)["error"]["message"]
