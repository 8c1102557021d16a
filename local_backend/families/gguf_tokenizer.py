"""Build a `tokenizers` serialization from the tokenizer metadata of a GGUF file.

Two kinds are known: byte-level BPE (`gpt2`) and sentencepiece BPE with scores (`llama`). The result is JSON
text, so that nothing is constructed twice: it is written to the cache and loaded from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from local_backend.errors import CheckpointError, UnsupportedModelError
from local_backend.families.byte_alphabet import BYTE_TO_CHAR, CHAR_TO_BYTE
from local_backend.families.pre_tokenizers import PRE_TOKENIZERS

__all__ = ["GGUFTokenizer", "tokenizer_json_from_gguf"]

# Control tokens that end generation whatever the file's eos_token_id says, as llama.cpp holds it too.
_END_SPELLINGS = frozenset(
    {
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|end|>",
        "<|EOT|>",
        "<｜end▁of▁sentence｜>",
        "</s>",
    }
)


class _TokenType(IntEnum):
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class GGUFTokenizer:
    """A tokenizer read from GGUF metadata.

    Attributes:
        tokenizer_json: A `tokenizers` serialization.
        eos_token_ids: Ids that end generation; the file's own first.
        tokens: Every token's spelling, by id.
    """

    tokenizer_json: str
    eos_token_ids: tuple[int, ...]
    tokens: tuple[str, ...]

    def spelling(self, token_id: int) -> str:
        """Return a token's spelling; empty for an id outside the vocabulary."""
        return self.tokens[token_id] if 0 <= token_id < len(self.tokens) else ""


def tokenizer_json_from_gguf(metadata: Mapping[str, object]) -> GGUFTokenizer:
    """Build the tokenizer a GGUF file describes.

    Args:
        metadata: Keys as in the file, `tokenizer.ggml.…`; arrays as sequences.

    Raises:
        CheckpointError: A key is missing or its arrays do not fit together.
        UnsupportedModelError: `tokenizer.ggml.model` or `tokenizer.ggml.pre` is not known.
    """
    kind = _required(metadata, "model")
    tokens = tuple(str(token) for token in _array(metadata, "tokens"))
    types = [
        int(value) for value in _array(metadata, "token_type", default=[_TokenType.NORMAL] * len(tokens))
    ]
    if len(types) != len(tokens):
        raise CheckpointError(
            f"tokenizer.ggml.token_type has {len(types)} entries for {len(tokens)} tokens",
            help_message="The file is damaged; fetch it again.",
        )
    if kind == "gpt2":
        body = _byte_level(metadata, tokens, types)
    elif kind == "llama":
        body = _sentencepiece(metadata, tokens, types)
    else:
        raise UnsupportedModelError(
            f"tokenizer.ggml.model={kind!r} is not supported",
            help_message="Use a model whose tokenizer is byte-level BPE ('gpt2') or sentencepiece ('llama').",
        )
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(i, tokens[i], types[i]) for i in range(len(tokens)) if _is_added(types[i])],
        "post_processor": None,
        **body,
    }
    return GGUFTokenizer(
        tokenizer_json=json.dumps(document, ensure_ascii=False, separators=(",", ":")),
        eos_token_ids=_end_ids(metadata, tokens, types),
        tokens=tokens,
    )


def _byte_level(metadata: Mapping[str, object], tokens: tuple[str, ...], types: list[int]) -> dict[str, Any]:
    pre = str(metadata.get("tokenizer.ggml.pre", "default"))
    rule = PRE_TOKENIZERS.get(pre)
    if rule is None:
        raise UnsupportedModelError(
            f"tokenizer.ggml.pre={pre!r} is not supported",
            help_message=f"Known pre-tokenizers: {', '.join(sorted(PRE_TOKENIZERS))}.",
        )
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    vocab = {
        token if _is_added(token_type) else _in_byte_alphabet(token): index
        for index, (token, token_type) in enumerate(zip(tokens, types, strict=True))
        if token_type != _TokenType.UNUSED
    }
    # "a b" strings load a third faster than pairs; no byte-level token holds a blank.
    merges = [str(merge) for merge in _array(metadata, "merges")]
    return {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                *(
                    {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}
                    for split in rule.splits
                ),
                byte_level,
            ],
        },
        "decoder": byte_level,
        "model": {**_BPE, "ignore_merges": rule.ignore_merges, "vocab": vocab, "merges": merges},
    }


def _in_byte_alphabet(token: str) -> str:
    """A few files store a text token as it reads instead of byte by byte."""
    if CHAR_TO_BYTE.keys() >= set(token):
        return token
    return "".join(BYTE_TO_CHAR[byte] for byte in token.encode())


def _sentencepiece(
    metadata: Mapping[str, object], tokens: tuple[str, ...], types: list[int]
) -> dict[str, Any]:
    vocab = {token: i for i, token in enumerate(tokens) if types[i] != _TokenType.UNUSED}
    text = {token: i for token, i in vocab.items() if types[i] == _TokenType.NORMAL}
    scores = [float(score) for score in _array(metadata, "scores")]
    unknown = metadata.get("tokenizer.ggml.unknown_token_id", 0)
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "first" if prefix else "never",
            "split": False,
        },
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            **_BPE,
            "unk_token": tokens[unknown] if isinstance(unknown, int) else None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocab,
            "merges": list(_merges_from_scores(text, scores)),
        },
    }


_BPE: dict[str, Any] = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": "",
    "end_of_word_suffix": "",
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
}


def _merges_from_scores(vocab: Mapping[str, int], scores: list[float]) -> Iterable[tuple[str, str]]:
    """Every pair of tokens that joins to a token, best score first: what sentencepiece does at run time."""
    pairs = [
        (-scores[index], -cut, cut - len(token), index, token[:cut], token[cut:])
        for token, index in vocab.items()
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    ]
    pairs.sort()  # ties as transformers breaks them: the longer left part first
    return ((left, right) for *_, left, right in pairs)


def _is_added(token_type: int) -> bool:
    return token_type in (_TokenType.CONTROL, _TokenType.USER_DEFINED, _TokenType.UNKNOWN)


def _added(token_id: int, content: str, token_type: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, **flags, "special": token_type != _TokenType.USER_DEFINED}


def _end_ids(metadata: Mapping[str, object], tokens: tuple[str, ...], types: list[int]) -> tuple[int, ...]:
    stated = (metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom"))
    first = [value for value in stated if isinstance(value, int) and 0 <= value < len(tokens)]
    known = (
        i for i, token in enumerate(tokens) if types[i] == _TokenType.CONTROL and token in _END_SPELLINGS
    )
    return tuple(dict.fromkeys((*first, *known)))


def _required(metadata: Mapping[str, object], key: str) -> Any:
    value = metadata.get(f"tokenizer.ggml.{key}")
    if value is None:
        raise CheckpointError(
            f"tokenizer.ggml.{key} is missing from the file's metadata",
            help_message="Use a GGUF file with an embedded tokenizer.",
        )
    return value


def _array(metadata: Mapping[str, object], key: str, default: list[Any] | None = None) -> list[Any]:
    if default is not None and f"tokenizer.ggml.{key}" not in metadata:
        return default
    return list(_required(metadata, key))
