"""FakeDeepSeek: any reply folds from its stream to the same answer, and its chunks are the recipe's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from deepseek_recipe import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ConversionOptions,
    InferenceChunk,
    InferenceFinishReason,
    ModelVersion,
    PromptUsage,
    StreamProcessor,
)
from fake_asking import HI, OFF, events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_client import fold, folded_whole

from deepseek_apps.testing import FakeDeepSeek, Reply
from deepseek_apps.testing._prompt_cache import BLOCK_TOKENS, PromptCache
from deepseek_apps.testing._tokens import RealCounter

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
WORDS = st.text(st.sampled_from('ab 你好👩\n"\\{<｜'), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
CALLS = st.lists(
    st.tuples(st.sampled_from(["f", "weather"]), st.dictionaries(WORDS, VALUES, max_size=3) | WORDS),
    max_size=3,
)
TEXTS = WORDS | st.lists(WORDS, max_size=4)
REPLIES = st.builds(Reply, TEXTS, reasoning=st.none() | TEXTS, tool_calls=CALLS)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeDeepSeek]:
    with FakeDeepSeek(api_key="", count_tokens=False) as running:
        yield running


@pytest.fixture(scope="module")
def http(fake: FakeDeepSeek) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=fake.url, trust_env=False, verify=False) as client:
        yield client


@FEW
@given(reply=REPLIES, thinking=st.booleans(), max_tokens=st.none() | st.integers(1, 12))
def test_streamed_equals_whole(
    fake: FakeDeepSeek, http: httpx2.Client, reply: Reply, thinking: bool, max_tokens: int | None
) -> None:
    body: dict[str, Any] = {"model": "deepseek-flash", "messages": HI, "max_tokens": max_tokens}
    body |= {} if thinking else {"thinking": OFF}
    fake.reply(reply, times=2)
    whole = folded_whole(http.post("/chat/completions", json=body).json())
    streamed = fold(events(http.post("/chat/completions", json=body | {"stream": True})))
    for answer in (whole, streamed):
        for call in answer["calls"]:
            call.pop("id")
    assert streamed == whole
    if max_tokens is None:
        assert whole["message"]["content"] == reply.text
        assert whole["message"].get("reasoning_content") == (
            "".join(reply.reasoning or "") if thinking else None
        )


def markup(reply: Reply) -> str:
    """Write a reply as the model would."""
    invokes = []
    for name, arguments in reply.tool_calls:
        assert isinstance(arguments, dict)
        parameters = "".join(
            f'<｜DSML｜ parameter name="{key}" string="{"true" if isinstance(value, str) else "false"}">'
            f"{value if isinstance(value, str) else json.dumps(value)}</｜DSML｜ parameter>\n"
            for key, value in arguments.items()
        )
        invokes.append(f'<｜DSML｜ invoke name="{name}">\n{parameters}</｜DSML｜ invoke>\n')
    return f"\n\n<｜DSML｜ calls>\n{''.join(invokes)}</｜DSML｜ calls>" if invokes else ""


def of_the_recipe(body: dict[str, Any], reply: Reply) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the chunks and the whole answer that DeepSeek's own library makes."""
    names = {"deepseek-flash": ModelVersion.DeepseekV41Flash}
    request = ChatCompletionRequest(json.dumps(body)).convert(
        ConversionOptions().with_model_versions_by_name(names)
    )
    processor = StreamProcessor(
        ChatCompletionRequest.chunk_generator(request, "i", "deepseek-flash"), request.parsing_options
    )
    texts = [*(reply.reasoning or ()), "</think>"] if "thinking" not in body else []
    pushed = [InferenceChunk.ready(prompt_usage=PromptUsage(), system_fingerprint="s")]
    pushed += [InferenceChunk.text(text) for text in (*texts, *reply.content, markup(reply)) if text]
    pushed.append(InferenceChunk.finish(InferenceFinishReason.Stop))
    made = [chunk for update in pushed for chunk in processor.push(update)]
    chunks = [json.loads(chunk.to_json()) for chunk in made]
    whole = ChatCompletionResponse("i", "deepseek-flash", 1, 0, 0)
    for chunk in made:
        whole.accumulate(chunk)
    return chunks, json.loads(whole.to_json())


def anonymous(value: Any) -> Any:
    """Blank what differs from answer to answer, and keep the order of members."""
    if isinstance(value, list):
        return [anonymous(each) for each in value]
    if not isinstance(value, dict):
        return value
    # The recipe counts reasoning only for token ids, so the member is missing in its usage.
    kept = ((name, part) for name, part in value.items() if name != "completion_tokens_details")
    blanked = {"id", "created", "system_fingerprint", "usage"}
    return [(name, None if name in blanked else anonymous(part)) for name, part in kept]


PLAIN = st.lists(st.text("abc你", min_size=1, max_size=5), min_size=1, max_size=3)
SIMPLE = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text("xy你", min_size=1) | st.integers())
SPOKEN = st.builds(
    Reply,
    PLAIN,
    reasoning=PLAIN,
    tool_calls=st.lists(st.tuples(st.sampled_from(["f", "g"]), SIMPLE), max_size=2),
)


@FEW
@given(reply=SPOKEN, thinking=st.booleans(), include_usage=st.booleans())
def test_chunks_and_answers_are_those_of_deepseeks_library(
    fake: FakeDeepSeek, http: httpx2.Client, reply: Reply, thinking: bool, include_usage: bool
) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "fg"]
    body: dict[str, Any] = {"model": "deepseek-flash", "messages": HI, "tools": tools}
    body |= {} if thinking else {"thinking": OFF}
    streaming = body | {"stream": True}
    if include_usage:
        streaming |= {"stream_options": {"include_usage": True}}
    fake.reply(reply, times=2)
    chunks, whole = of_the_recipe(streaming, reply)
    assert anonymous(events(http.post("/chat/completions", json=streaming))) == anonymous(chunks)
    assert anonymous(http.post("/chat/completions", json=body).json()) == anonymous(whole)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_pieces_join_to_the_text_and_count_every_token(text: str) -> None:
    counter = RealCounter()
    pieces = counter.pieces(text)
    assert "".join(piece for piece, _ in pieces) == text
    assert sum(tokens for _, tokens in pieces) == len(counter.ids(text))


@settings(max_examples=100, deadline=None)
@given(
    stored=st.lists(st.lists(st.integers(0, 1), max_size=5)), asked=st.lists(st.integers(0, 1), max_size=5)
)
def test_the_cache_agrees_with_a_list_of_prefixes(stored: list[list[int]], asked: list[int]) -> None:
    cache = PromptCache()
    for blocks in stored:
        cache.store("salt", [block for block in blocks for _ in range(BLOCK_TOKENS)])
    prefixes = {tuple(blocks[:length]) for blocks in stored for length in range(len(blocks) + 1)} | {()}
    known = max(length for length in range(len(asked) + 1) if tuple(asked[:length]) in prefixes)
    rest = [7] * (BLOCK_TOKENS - 1)
    ids = [block for block in asked for _ in range(BLOCK_TOKENS)] + rest
    assert cache.hit("salt", ids) == known * BLOCK_TOKENS
    assert cache.hit("other", ids) == 0
