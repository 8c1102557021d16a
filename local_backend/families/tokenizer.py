"""Text to token ids and back, for one model.

Text is plain unless the caller says which ranges are special tokens, so nobody can forge a turn by spelling
one. Decoding is by bytes: what a token adds to the output is known exactly, token by token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import tokenizers

from local_backend.errors import RequestError, UnsupportedModelError
from local_backend.families.byte_alphabet import CHAR_TO_BYTE
from local_backend.families.text_assets import TextAssets

__all__ = ["Tokenizer"]

# Markers a program reads in the output are text, even where a file calls them control tokens.
_VISIBLE_SPELLINGS = frozenset(
    {
        *("<tool_call>", "</tool_call>", "<think>", "</think>", "｜DSML｜"),
        *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁sep｜>"),
        *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
    }
)
# Markers of other people's turns never belong to an output, even where a file calls them text.
_HIDDEN_SPELLINGS = frozenset(
    {
        *("<｜System｜>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>"),
        *("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"),
        *("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
    }
)
_CHUNK_CHARS = 1 << 17
# Every known pre-tokenizer cuts between a letter and the blank or mark after it, whatever surrounds them.
_SAFE_CUT = re.compile(r"[A-Za-z一-龥](?=[ \n，。])")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class Tokenizer:
    """Encodes and decodes text for one model; immutable, safe to share between threads.

    Args:
        backend: A `tokenizers.Tokenizer` with the added tokens of the model.
        eos_token_ids: Ids that end a turn, the preferred one first.

    Raises:
        UnsupportedModelError: The tokenizer's tokens cannot be turned into bytes one by one.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, eos_token_ids: Iterable[int] = ()) -> None:
        self._eos_token_ids = tuple(eos_token_ids)
        self._backend = backend
        self._byte_level = _is_byte_level(backend)
        added = backend.get_added_tokens_decoder()
        self._added_ids = {token.content: token_id for token_id, token in added.items()}
        self._added_text = {
            token_id: token.content if _is_visible(token) else "" for token_id, token in added.items()
        }
        self._plain = _without_added_tokens(backend)
        self._plain_inside = _without_prefix_space(self._plain)

    @classmethod
    def from_assets(cls, assets: TextAssets) -> Tokenizer:
        """Build from a model's text assets.

        Raises:
            UnsupportedModelError: `tokenizers` cannot read the serialization, or it is of an unknown kind.
        """
        try:
            backend = tokenizers.Tokenizer.from_str(assets.tokenizer_json)
        except Exception as error:
            raise UnsupportedModelError(
                f"The tokenizer of {assets.name!r} cannot be read: {error}",
                help_message="Fetch the model again, or use another file of it.",
            ) from error
        return cls(backend, eos_token_ids=assets.eos_token_ids)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Ids that end a turn, the preferred one first."""
        return self._eos_token_ids

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id; the model's own vocabulary may be padded beyond it."""
        return max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def special_tokens(self) -> dict[int, str]:
        """Control tokens, id to spelling: they never match or produce text."""
        spellings = {token_id: spelling for spelling, token_id in self._added_ids.items()}
        return {token_id: spellings[token_id] for token_id, text in self._added_text.items() if not text}

    @property
    def added_spellings(self) -> tuple[str, ...]:
        """Every spelling that stands for one id of its own, control token or marker."""
        return tuple(self._added_ids)

    def token_id(self, spelling: str) -> int | None:
        """Return the id of a token by its spelling, None when the vocabulary has none."""
        found = self._added_ids.get(spelling)
        return self._backend.token_to_id(spelling) if found is None else found

    def encode(self, text: str, special_ranges: Iterable[tuple[int, int]] = ()) -> list[int]:
        """Encode text in which only the given ranges are special tokens.

        Args:
            text: The prompt.
            special_ranges: Half-open code point ranges, ascending and disjoint, each holding the spelling
                of one added token. All other text is plain, whatever it spells.

        Raises:
            RequestError: The text holds a lone surrogate.
        """
        ids: list[int] = []
        position = 0
        for start, end in special_ranges:
            special = self._added_ids.get(text[start:end])
            if special is None:
                continue
            ids += self._encode_segment(text[position:start], first=position == 0)
            ids.append(special)
            position = end
        return ids + self._encode_segment(text[position:], first=position == 0)

    def encode_plain(self, text: str) -> list[int]:
        """Encode text that holds no special tokens, whatever it spells.

        Raises:
            RequestError: The text holds a lone surrogate.
        """
        return self._encode_segment(text, first=True)

    def encode_output(self, text: str) -> list[int]:
        """Encode text as a model writes it, for text that a grammar forces: each marker is its one token.

        Raises:
            RequestError: The text holds a lone surrogate.
        """
        return self.encode(text, (match.span() for match in self._markers.finditer(text)))

    @cached_property
    def _markers(self) -> re.Pattern[str]:
        """Spellings of added tokens that show in the output, such as `<tool_call>`; longest first."""
        visible = [spelling for spelling, token_id in self._added_ids.items() if self._added_text[token_id]]
        return re.compile("|".join(map(re.escape, sorted(visible, key=len, reverse=True))) or r"(?!)")

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the text of the ids; bytes that are not UTF-8 become U+FFFD, control tokens nothing."""
        return b"".join(map(self.token_bytes, token_ids)).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Return the exact bytes a token adds to the output: none for a control token or an unused id."""
        added = self._added_text.get(token_id)
        if added is not None:
            return added.encode()
        token = self._backend.id_to_token(token_id) if token_id >= 0 else None
        if token is None:
            return b""
        if self._byte_level:
            try:
                return bytes(map(CHAR_TO_BYTE.__getitem__, token))
            except KeyError:
                return token.encode()
        byte = _BYTE_TOKEN.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()

    def _encode_segment(self, text: str, *, first: bool) -> list[int]:
        if not text:
            return []
        _check_unicode(text)
        if len(text) <= _CHUNK_CHARS or not self._byte_level:
            backend = self._plain if first else self._plain_inside
            return list(backend.encode(text, add_special_tokens=False).ids)
        batch = self._plain.encode_batch_fast(list(_chunks(text, _CHUNK_CHARS)), add_special_tokens=False)
        return [token_id for encoding in batch for token_id in encoding.ids]


def _is_visible(token: tokenizers.AddedToken) -> bool:
    if token.special:
        return token.content in _VISIBLE_SPELLINGS
    return token.content not in _HIDDEN_SPELLINGS


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"The text holds a lone surrogate, U+{ord(text[error.start]):04X}, at position {error.start}",
            help_message="Send valid Unicode: decode the input as UTF-8 before sending it.",
        ) from error


def _chunks(text: str, size: int) -> Iterator[str]:
    """Cut where no token can span the cut: memory stays small and the pieces are encoded in parallel.

    A stretch longer than size without such a place is cut all the same. Nobody writes one, and a run of ten
    million blanks makes the regex engine under `tokenizers` abort.
    """
    start = 0
    while start < len(text):
        limit = start + 2 * size
        cut = _SAFE_CUT.search(text, start + size, limit)
        end = cut.end() if cut else limit
        yield text[start:end]
        start = end


def _without_added_tokens(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    plain = tokenizers.Tokenizer(backend.model)  # shares the vocabulary
    if backend.normalizer is not None:
        plain.normalizer = backend.normalizer
    if backend.pre_tokenizer is not None:
        plain.pre_tokenizer = backend.pre_tokenizer
    return plain


def _without_prefix_space(plain: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """For text after a special token: sentencepiece puts a blank before the first word of a prompt only."""
    metaspace = plain.pre_tokenizer
    if not isinstance(metaspace, tokenizers.pre_tokenizers.Metaspace) or metaspace.prepend_scheme != "first":
        return plain
    inside = _without_added_tokens(plain)
    inside.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(
        replacement=metaspace.replacement, prepend_scheme="never", split=metaspace.split
    )
    return inside


def _is_byte_level(backend: tokenizers.Tokenizer) -> bool:
    model: Any = backend.model
    if "ByteLevel" in repr(backend.decoder):
        return True
    if getattr(model, "byte_fallback", False):
        return False
    raise UnsupportedModelError(
        f"A {type(model).__name__} tokenizer with decoder {type(backend.decoder).__name__} is not supported",
        help_message="Use a model with a byte-level BPE or a sentencepiece BPE tokenizer.",
    )
