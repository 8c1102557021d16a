"""Long texts are cut into chunks before they are encoded: the tokens must not show where."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_apps import _tokenizer

WORDS = st.sampled_from(
    (
        *(
            "the",
            "fox",
            " ",
            "  ",
            "\n",
            "\n\n",
            ".",
            ",",
            "，",
            "。",
            "深度",
            "求索",
            "3",
            "2026",
            "'s",
            "{",
        ),
        *('"a":', "é", "🦊", "\t", "_", "x1", "Ａ", "don't", "<｜User｜>"),
    )
)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=120).map("".join), st.integers(1, 40))
def test_tokens_do_not_depend_on_the_cuts(text: str, size: int) -> None:
    whole = _tokenizer.encode_plain(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tokenizer, "_CHUNK_CHARS", size)
        pieces = list(_tokenizer._chunks([text]))
        ids = _tokenizer.encode_plain(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces), default=0) <= 2 * size
    forced = any(len(piece) == 2 * size for piece in pieces[:-1])  # no place to cut: may split a token
    assert ids == whole or forced


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=8))
def test_the_count_is_the_number_of_ids(texts: list[str]) -> None:
    assert _tokenizer.count_plain(texts) == sum(len(_tokenizer.encode_plain(text)) for text in texts)
