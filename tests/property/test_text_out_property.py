"""Text that comes out piece by piece equals text that comes out at once, wherever it is cut."""

from __future__ import annotations

import itertools

import pytest
from hermes_output import answer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toy_gguf import toy_assets

from local_backend.families.chat_template import ContentGuard
from local_backend.families.detokenizer import Detokenizer
from local_backend.families.stop_strings import StopMatcher
from local_backend.families.tokenizer import Tokenizer

_CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "x</tool_call>y", "b": 1.0}}\n</tool_call>'
_FRAGMENTS = [
    _CALL,
    '<tool_call>{"name": "g"}</tool_call>',
    '{"name": "now", "arguments": {}}',
    "```json\n",
    *("<tool_call>", "</tool_call>", "</think>", "<think>", "{", '"', "\\", "\n", " ", "text"),
    *("<｜DSML｜tool_calls>", "｜", "<", "世", "🙂", "</"),
]
_SPELLED = ["<|a|>", "<|", "a", "|>", "<", ">", "<|b|>", "x"]


@pytest.fixture(scope="module")
def toy():
    return Tokenizer.from_assets(toy_assets())


def _cut(text, positions):
    bounds = [0, *sorted(position % (len(text) + 1) for position in positions), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(bounds)]


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 280), max_size=40))
def test_detokenizer_equals_decode(ids, toy):
    detokenizer = Detokenizer(toy)
    pieces = [detokenizer.push(token_id) for token_id in ids]
    assert "".join(pieces) + detokenizer.finish() == toy.decode(ids)


@settings(deadline=None)
@given(text=st.text(alphabet="世🙂é👨‍👩‍👧a\u0301", max_size=20))
def test_detokenizer_shows_only_whole_characters(text, toy):
    detokenizer = Detokenizer(toy)
    shown = ""
    for token_id in toy.encode_plain(text):
        shown += detokenizer.push(token_id)
        assert text.startswith(shown)
    assert shown + detokenizer.finish() == text


def _first_match(text, stop):
    found = [(text.index(s) + len(s), text.index(s)) for s in stop if s in text]
    return text[: min(found)[1]] if found else text


@settings(deadline=None)
@given(
    text=st.text(alphabet="abc", max_size=30),
    stop=st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=4),
    cuts=st.lists(st.integers(0, 1000), max_size=6),
)
@example(text="abcd", stop=["abcd", "bc"], cuts=[1, 2, 3])
def test_stop_strings_do_not_depend_on_cuts(text, stop, cuts):
    matcher = StopMatcher(stop)
    shown = ""
    for piece in _cut(text, cuts):
        emitted, stopped = matcher.push(piece)
        shown += emitted
        assert stopped is matcher.stopped
        assert _first_match(text, stop).startswith(shown)
        assert not any(s in shown for s in stop)
    shown += matcher.finish()
    assert shown == _first_match(text, stop)
    assert matcher.stopped is any(s in text for s in stop)
    assert not matcher.stopped or matcher.push("more") == ("", True)


@settings(deadline=None, max_examples=200)
@given(
    fragments=st.lists(st.sampled_from(_FRAGMENTS), max_size=8),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
    thinking=st.booleans(),
)
def test_tool_calls_do_not_depend_on_cuts(fragments, cuts, thinking):
    raw = "".join(fragments)
    whole = answer([raw], thinking=thinking)
    assert answer(_cut(raw, cuts), thinking=thinking) == whole
    assert answer(raw, thinking=thinking) == whole


@settings(deadline=None, max_examples=200)
@given(fragments=st.lists(st.sampled_from(_FRAGMENTS), max_size=8))
def test_nothing_is_lost(fragments):
    """Every letter of the output is in the content or in a call; only the frame of calls goes."""
    raw = "".join(fragments)
    got = answer([raw])
    called = "".join(f"{name}{arguments}" for name, arguments in got.calls)
    for word in ("text", "世", "🙂", "｜", "DSML", "x</tool_call>y"):
        assert got.content.count(word) + called.count(word) >= raw.count(word)
    assert bool(got.calls) is (got.finish_reason == "tool_calls")


@settings(deadline=None)
@given(contents=st.lists(st.lists(st.sampled_from(_SPELLED), max_size=6), max_size=4))
def test_content_never_becomes_special(contents):
    texts = ["".join(content) for content in contents]
    guard = ContentGuard(["<|a|>", "<|b|>", "<"])
    rendered = "<|a|>" + "<|b|>".join(map(guard.protect, texts)) + "<|a|>"
    text, ranges = guard.restore(rendered)
    assert text == "<|a|>" + "<|b|>".join(texts) + "<|a|>"
    expected = ["<|a|>", *["<|b|>"] * max(0, len(texts) - 1), "<|a|>"]
    assert [text[start:end] for start, end in ranges] == expected
