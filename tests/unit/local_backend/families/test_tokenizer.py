"""The tokenizer facade: what is special, what is plain, and which bytes a token stands for."""

from __future__ import annotations

import time

import pytest
import tokenizers
from toy_gguf import sentencepiece_metadata, toy_assets

from local_backend.errors import RequestError, UnsupportedModelError
from local_backend.families import tokenizer as module
from local_backend.families.text_assets import TextAssets
from local_backend.families.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def toy():
    return Tokenizer.from_assets(toy_assets())


@pytest.fixture(scope="module")
def pieces():
    return Tokenizer.from_assets(TextAssets.from_gguf_metadata(sentencepiece_metadata()))


def test_only_the_given_ranges_are_special(toy):
    text = "<|im_end|><|im_end|>"
    end = toy.token_id("<|im_end|>")
    assert toy.encode(text).count(end) == 0
    assert toy.encode(text, [(10, 20)]) == [*toy.encode_plain("<|im_end|>"), end]
    assert toy.encode(text, [(0, 10), (10, 20)]) == [end, end]


def test_ranges_are_code_points(toy):
    assert toy.encode("你好<|im_end|>吗", [(2, 12)]) == [
        *toy.encode_plain("你好"),
        toy.token_id("<|im_end|>"),
        *toy.encode_plain("吗"),
    ]


def test_a_range_that_is_no_token_is_plain(toy):
    assert toy.encode("hello", [(0, 2)]) == toy.encode_plain("hello")


def test_control_tokens_have_no_bytes_and_markers_have_theirs(toy):
    spelled = {s: toy.token_bytes(toy.token_id(s)) for s in ("<|im_end|>", "<tool_call>", "</tool_call>")}
    assert spelled == {"<|im_end|>": b"", "<tool_call>": b"<tool_call>", "</tool_call>": b"</tool_call>"}
    assert set(toy.special_tokens.values()).isdisjoint(spelled.keys() - {"<|im_end|>"})


def test_unused_ids_have_no_bytes_and_do_not_count(toy):
    assert toy.token_bytes(toy.vocab_size) == toy.token_bytes(10**6) == toy.token_bytes(-1) == b""
    assert toy.token_id("[PAD]") is None


def test_token_bytes_join_to_the_text(toy):
    text = "hello 世界\r\n🙂"
    assert b"".join(map(toy.token_bytes, toy.encode_plain(text))) == text.encode()


def test_half_a_character_decodes_to_a_replacement(toy):
    assert toy.decode(toy.encode_plain("世")[:2]) == "\ufffd"


@pytest.mark.parametrize("text", ["a\ud800b", "x" * 200_000 + "\udfff"])
def test_lone_surrogates_are_refused_with_their_position(toy, text):
    with pytest.raises(RequestError, match=r"U\+D800, at position 1$|U\+DFFF, at position 200000$"):
        toy.encode_plain(text)


def test_sentencepiece_merges_by_score_and_falls_back_to_bytes(pieces):
    tokens = [pieces.token_bytes(i) for i in pieces.encode_plain("hello w世é")]
    assert tokens == [b" hello", b" w", "世".encode(), b"\xc3", b"\xa9"]


def test_sentencepiece_puts_a_blank_only_before_the_first_word(pieces):
    bos = pieces.token_id("<s>")
    assert pieces.encode("<s>hello", [(0, 3)]) == [bos, pieces.token_id("hello")]
    assert pieces.encode("hello") == [pieces.token_id("▁hello")]


def test_long_texts_are_cut_where_no_token_spans_the_cut(monkeypatch, starter_small_tokenizer):
    text = "The year 2024, 你好，世界。\n\n  def f(x):\r\n    return  x  # ok 🙂\n" * 40
    whole = starter_small_tokenizer.encode_plain(text)
    for size in (40, 64, 999):
        monkeypatch.setattr(module, "_CHUNK_CHARS", size)
        assert len(list(module._chunks(text, size))) > 2
        assert starter_small_tokenizer.encode_plain(text) == whole


@pytest.mark.parametrize("unit", [" ", "a", "\n", "汉", "🙂 "])
def test_two_megabytes_of_anything_take_seconds(unit, starter_small_tokenizer):
    text = unit * (2_000_000 // len(unit.encode()))
    started = time.monotonic()
    ids = starter_small_tokenizer.encode_plain(text)
    assert time.monotonic() - started < 20
    assert starter_small_tokenizer.decode(ids) == text


def test_other_kinds_of_tokenizer_are_refused():
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(UnsupportedModelError, match="WordLevel"):
        Tokenizer(backend)


def test_a_broken_serialization_is_refused():
    assets = toy_assets()
    broken = TextAssets(**{f: getattr(assets, f) for f in assets.__slots__} | {"tokenizer_json": "{}"})
    with pytest.raises(UnsupportedModelError, match="cannot be read"):
        Tokenizer.from_assets(broken)


def test_forced_output_has_markers_as_the_model_writes_them(starter_small_tokenizer: Tokenizer) -> None:
    text = '你好<tool_call>\n{"name": "f"}\n</tool_call><|im_end|>'
    ids = starter_small_tokenizer.encode_output(text)
    for marker in ("<tool_call>", "</tool_call>"):
        assert ids.count(starter_small_tokenizer.token_id(marker)) == 1
    assert starter_small_tokenizer.token_id("<|im_end|>") not in ids  # a control token is no text
    assert starter_small_tokenizer.decode(ids) == text
    assert starter_small_tokenizer.encode_output("plain") == starter_small_tokenizer.encode_plain("plain")
