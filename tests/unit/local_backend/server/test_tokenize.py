"""POST /tokenize: vLLM's form, the count of a real answer, and no weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted_engine import ScriptedEngine, ScriptedFamily, byte_tokenizer
from server_client import USER, WEATHER, chat, handler_for, post, read

from local_backend.families.model_text import ModelText
from local_backend.server import ModelPool, RequestHandler


def text_side(name: str) -> ModelText:
    tokenizer = byte_tokenizer()
    return ModelText(tokenizer, ScriptedFamily(tokenizer))


def unloaded() -> RequestHandler:
    return RequestHandler(ModelPool({"toy": lambda: pytest.fail("loaded")}, "toy", text_loader=text_side))


def tokenize(handler: RequestHandler, path: str = "/tokenize", **fields: Any) -> dict[str, Any]:
    status, text = read(post(handler, fields, path))
    assert status == 200, text
    return json.loads(text)


def test_a_prompt_is_plain_text_and_loads_no_weights() -> None:
    answer = tokenize(unloaded(), model="toy", prompt="hi")
    assert answer == {
        "count": 2,
        "max_model_len": None,
        "tokens": list(byte_tokenizer().encode_plain("hi")),
    }


@pytest.mark.parametrize("path", ["/tokenize", "/v1/tokenize", "/beta/tokenize"])
def test_the_count_of_a_chat_is_the_usage_of_its_answer(path: str) -> None:
    handler = handler_for(ScriptedEngine())
    counted = tokenize(handler, path, model="toy", messages=USER, tools=[WEATHER])
    assert counted["count"] == chat(handler, tools=[WEATHER])["usage"]["prompt_tokens"]
    assert counted["count"] == len(counted["tokens"])


def test_a_loaded_model_tells_its_context() -> None:
    engine = ScriptedEngine()
    pool = ModelPool({"toy": lambda: engine}, "toy", text_loader=text_side)
    pool.get("toy")
    assert tokenize(RequestHandler(pool), prompt="x")["max_model_len"] == engine.max_model_len


def test_the_text_is_read_once() -> None:
    asked: list[str] = []
    pool = ModelPool({"toy": ScriptedEngine}, "toy", text_loader=lambda n: asked.append(n) or text_side(n))
    for _ in range(2):
        tokenize(RequestHandler(pool), model="deepseek-flash", prompt="x")
    assert asked == ["toy"]


def test_without_a_model_the_default_one_counts() -> None:
    assert tokenize(unloaded(), prompt="")["count"] == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "toy"}, 400),
        ({"model": "toy", "prompt": ["a"]}, 400),
        ({"model": 1, "prompt": "a"}, 400),
        ({"model": "other", "prompt": "a"}, 400),
        ({"model": "toy", "messages": []}, 400),
        ({"model": "toy", "messages": [{"role": "tool", "tool_call_id": "a", "content": ""}]}, 400),
        ({"model": "toy", "messages": "hi"}, 400),
    ],
)
def test_what_cannot_be_counted_is_refused(fields: dict[str, Any], status: int) -> None:
    assert read(post(unloaded(), fields, "/tokenize"))[0] == status


def test_it_asks_for_the_key() -> None:
    handler = handler_for(ScriptedEngine(), api_key="secret")
    assert read(post(handler, {"prompt": "x"}, "/tokenize"))[0] == 401
