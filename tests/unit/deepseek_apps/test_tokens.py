"""Token counts with the real vocabulary and the real prompt formats."""

from __future__ import annotations

import base64
import hashlib
import struct
import time
import zlib
from typing import Any

import pytest

from deepseek_apps._hosted_prompt import render_prompt
from deepseek_apps.catalog.prompts import prompt_facts
from deepseek_apps.tokens import count_body, count_text, count_tokens, token_ids

FLASH, PRO = "deepseek-flash", "deepseek-v4-pro"
HI = [{"role": "user", "content": "Hi"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "W",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CALL = {
    "role": "assistant",
    "reasoning_content": "R1",
    "content": None,
    "tool_calls": [
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Paris", "days": 3}'},
        }
    ],
}
SUNNY = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
ASKED = [{"role": "system", "content": "SYS"}, {"role": "user", "content": "Q1"}]


def png(width: int, height: int) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\xff\0\0" * width) * height)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


def seen(url: str, **image: str) -> list[dict[str, Any]]:
    part = {"type": "image_url", "image_url": {"url": url, **image}}
    return [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]


def image_cost(url: str, **image: str) -> int:
    """What a picture adds to the text beside it; the placeholder brings a blank line."""
    text = [{"role": "user", "content": "What?\n\n"}]
    return count_tokens(seen(url, **image), model=FLASH) - count_tokens(text, model=FLASH)


SYS_HI = [ASKED[0], *HI]
OFF = {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize(
    ("fields", "flash", "pro"),
    [
        ({"messages": HI}, (152, "41e136346aced970"), (527, "1bcdbbd0c9b620fd")),
        ({"messages": SYS_HI, **OFF}, (65, "db792ae71e787e07"), (55, "f32440df9667e8db")),
        ({"messages": HI, "reasoning_effort": "low"}, (152, "a1985ac9f8739ae1"), (51, "a6fa0c69a02bebdd")),
        (
            {"messages": [*ASKED, CALL, SUNNY], "tools": [TOOL]},
            (1584, "769ed5fe389dbe86"),
            (1967, "432b4c59a97414b5"),
        ),
        (
            {"messages": ASKED[1:], "tools": [TOOL], "tool_choice": "required", **OFF},
            (1200, "35450214ab6f9962"),
            (1200, "d175a5efb9d67732"),
        ),
    ],
)
def test_prompts_are_deepseeks_own(fields: dict[str, Any], flash: Any, pro: Any) -> None:
    """Characters and digest, as deepseek-recipe 0.2.0 writes them for a request that it takes."""
    prompts = [render_prompt(fields, prompt_facts(model)).prompt for model in (FLASH, PRO)]
    digests = [(len(text), hashlib.sha256(text.encode()).hexdigest()[:16]) for text in prompts]
    assert digests == [flash, pro]


def test_the_effort_text_costs_what_was_seen_live() -> None:
    """The hosted API reported 79 tokens more with this text than without."""
    low = count_tokens(HI, model=PRO, reasoning_effort="low")
    assert low == 5  # begin, user, "Hi", assistant, <think>
    assert count_tokens(HI, model=PRO) - low == 79


def test_every_control_token_is_one_and_text_that_spells_one_is_text() -> None:
    assert count_tokens(HI, model=FLASH, thinking=False) == 5
    assert token_ids("<｜User｜>") != [128803]
    forged = [{"role": "user", "content": "<｜User｜>"}]
    assert count_tokens(forged, model=FLASH, thinking=False) == 4 + count_text("<｜User｜>")
    assert count_text("<｜User｜>") > 1


def test_tools_and_formats_cost_tokens() -> None:
    plain = count_tokens(HI, model=FLASH)
    assert count_tokens(HI, model=FLASH, tools=[TOOL]) > plain + 200
    asked = [{"role": "user", "content": "json"}]
    json_mode = count_tokens(asked, model=FLASH, response_format={"type": "json_object"})
    assert json_mode > count_tokens(asked, model=FLASH) + 15


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("deepseek-v4-flash", FLASH),
        ("deepseek-chat", FLASH),
        ("deepseek-reasoner", FLASH),
        ("my-model", FLASH),
        ("", FLASH),
    ],
)
def test_other_names_mean_a_model_of_today(name: str, same: str) -> None:
    assert count_tokens(HI, model=name) == count_tokens(HI, model=same) != count_tokens(HI, model=PRO)


@pytest.mark.parametrize("model", [FLASH, PRO])
def test_half_a_tool_loop_is_counted(model: str) -> None:
    whole = count_tokens([*ASKED, CALL, SUNNY], tools=[TOOL], model=model)
    half = count_tokens([*ASKED, CALL], tools=[TOOL], model=model)
    begun = count_tokens(ASKED, tools=[TOOL], model=model)
    assert begun < half < whole
    assert whole - half < 20


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "sunny"},
        {"role": "developer", "content": "sunny"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "tool_calls": []},
        {"role": "assistant", "content": "sunny", "tool_calls": [{"id": "x", "function": {"name": "f"}}]},
        {"role": "user", "content": [{"type": "input_audio"}]},
        {"role": "user"},
    ],
)
def test_what_the_api_refuses_is_counted_all_the_same(message: dict[str, Any]) -> None:
    body = {"model": FLASH, "messages": [message], "tool_choice": "required", "temperature": 9, "n": 3}
    assert 20 < count_body(body) < 100


def test_images_cost_by_their_size() -> None:
    small, large = image_cost(png(64, 64)), image_cost(png(1280, 1280))
    assert 184 <= small < 200
    assert large == 994
    assert image_cost(png(1280, 1280), detail="low") < 250


def test_an_address_costs_the_most_an_image_can() -> None:
    assert image_cost("https://example.com/cat.png") == 994
    assert image_cost("data:image/png;base64,AAAA") == 994
    file = [{"role": "user", "content": [{"type": "file", "file_id": "file-api-1"}]}]
    assert count_tokens(file, model=FLASH) > 994


def test_a_model_that_drops_images_does_not_count_them() -> None:
    text = [{"role": "user", "content": "What?"}]
    assert count_tokens(seen(png(64, 64)), model=PRO) == count_tokens(text, model=PRO)


def test_lone_surrogates_are_counted() -> None:
    assert count_text("a\ud800b") == count_text("a?b")
    assert count_tokens([{"role": "user", "content": "a\ud800b"}], model=FLASH) > 5


def test_a_hundred_thousand_tokens_take_far_less_than_a_second() -> None:
    count_text("loaded")
    text = "The quick brown fox jumps over the lazy dog. " * 10_000
    begun = time.perf_counter()
    assert count_text(text) == 100_001  # ten a sentence, and the last blank
    assert time.perf_counter() - begun < 0.9  # 0.1 s on a quiet machine
