"""Our ids equal transformers' for the same GGUF file."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_backend.families.text_assets import TextAssets
from local_backend.families.tokenizer import Tokenizer

CORPUS = [
    "The quick brown fox doesn't jump; it's 3,141.59 times TOO lazy!  Really?",
    "今天天气很好，我们去公园散步吧！人工智能（AI）正在改变世界。“你好”——他说。",
    "def fib(n: int) -> int:\n\treturn n if n < 2 else fib(n - 1) + fib(n - 2)  # O(φⁿ)\n\n\n",
    "👩🏽‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 ❤️‍🔥 🇨🇳",
    "𠀀𠮷𪚥 龘靐 䶮",
    "e\u0301 n\u0303 a\u0308 \u1100\u1161\u11a8 x\u200dy\u200b",
    "0 12 345 6789 1234567890 ١٢٣ ⅷ ½",
    "    \t\t  \n \n\r\n\r\n   x   \r",
    "line one\r\nline two\r\n\r\n  indented\r\n",
    "العربية من اليمين إلى اليسار 한국어 문장입니다 ภาษาไทย עברית हिन्दी",
    "https://api.deepseek.com/v1?x=1&y=%E4%BD%A0 <div class='a'>&amp;</div> $\\frac{1}{2}$",
    "混合mixed文本text，with空格 and標點！",
    "\x00\x01\x7f\ufeff\ufffd\u2028",
    " leading", "trailing ", "", "'S'LL'Ve I'M",
]  # fmt: skip


@pytest.mark.parametrize("text", CORPUS)
def test_corpus_has_the_same_ids(text, reference_tokenizer, starter_small_tokenizer):
    expected = reference_tokenizer.encode(text, add_special_tokens=False)
    assert starter_small_tokenizer.encode_plain(text) == expected
    assert starter_small_tokenizer.decode(expected) == text


def test_special_tokens_have_the_same_ids(reference_tokenizer, starter_small_tokenizer):
    text = "<|im_start|>user\n你好<|im_end|>\n<tool_call>\n{}\n</tool_call>"
    ranges = [match.span() for match in re.finditer(r"<\|im_\w+\|>|</?tool_call>", text)]
    expected = reference_tokenizer.encode(text, add_special_tokens=False)
    assert starter_small_tokenizer.encode(text, ranges) == expected


def test_end_tokens(reference_tokenizer, starter_small_tokenizer):
    assert starter_small_tokenizer.eos_token_ids[0] == reference_tokenizer.eos_token_id
    assert starter_small_tokenizer.decode([reference_tokenizer.eos_token_id]) == ""


@settings(deadline=None, max_examples=300)
@given(text=st.text(max_size=80))
def test_any_text_has_the_same_ids(text, reference_tokenizer, starter_small_tokenizer):
    ids = starter_small_tokenizer.encode_plain(text)
    assert ids == reference_tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert starter_small_tokenizer.decode(ids) == text


@settings(deadline=None, max_examples=50)
@given(text=st.text(alphabet="ab1 \n\r\t，。!今天'sS\u3000é", max_size=300))
def test_runs_of_blanks_and_marks_have_the_same_ids(text, reference_tokenizer, starter_small_tokenizer):
    expected = reference_tokenizer.encode(text, add_special_tokens=False)
    assert starter_small_tokenizer.encode_plain(text) == expected


@pytest.fixture(scope="module")
def sentencepiece_pair():
    """Ours and transformers' reading of one sentencepiece vocabulary with scores, trained on the corpus."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers
    from transformers.integrations.gguf import convert_gguf_tokenizer

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=700, show_progress=False))
    learned = sorted(backend.get_vocab(), key=backend.token_to_id)
    fields = {
        "tokens": ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned],
        "token_type": [2, 3, 3, *[6] * 256, *[1] * len(learned)],
        "scores": [0.0] * 259 + [-float(rank) for rank in range(len(learned))],
    }
    metadata = {"tokenizer.ggml.model": "llama"} | {f"tokenizer.ggml.{k}": v for k, v in fields.items()}
    reference, _ = convert_gguf_tokenizer("llama", {"tokenizer_type": "llama", **fields})
    return Tokenizer.from_assets(TextAssets.from_gguf_metadata(metadata)), reference


@settings(deadline=None, max_examples=200)
@given(text=st.one_of(st.sampled_from(CORPUS), st.text(max_size=40), st.text(" \n▁an天", max_size=40)))
def test_sentencepiece_has_the_same_ids(text, sentencepiece_pair):
    ours, reference = sentencepiece_pair
    assert ours.encode_plain(text) == reference.encode(text, add_special_tokens=False).ids
