"""Constrained decoding: a grammar becomes a mask over the vocabulary, token by token.

The engine never sees text: this module gets tables of bytes and gives masks. Which grammar a request needs
is the prompt family's business; parsing what came out is the server's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from local_backend.errors import RequestError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from torch import Tensor

__all__ = ["GrammarCompiler", "GrammarConstraint", "VocabularyBytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyBytes:
    """What the grammar engine must know of a tokenizer.

    Attributes:
        token_bytes: Entry i is the exact bytes token i adds to the output; empty for control tokens.
        special_tokens: Ids of control tokens with their spelling, so that a grammar can name them; they
            never match ordinary text.
        eos_token_ids: Ids that end the output, the preferred one first.
        encode: Bytes to ids, the way the model's tokenizer does it; used where the grammar leaves one
            continuation only, so that the forced text is split as the model has learned it.
    """

    token_bytes: Seq[bytes]
    special_tokens: Mapping[int, str]
    eos_token_ids: Seq[int]
    encode: Callable[[bytes], list[int]]


class GrammarCompiler:
    """Compiles grammars for one vocabulary; safe to share between threads.

    Args:
        load_vocabulary: Called once, at the first `compile`: building the tables for 152K tokens takes
            about half a second, which a plain chat must not pay.
    """

    def __init__(self, load_vocabulary: Callable[[], VocabularyBytes]) -> None:
        self._load_vocabulary = load_vocabulary
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None

    def compile(self, grammar: str) -> GrammarConstraint:
        """Turn a grammar into a fresh constraint for one request.

        Args:
            grammar: What `llguidance` takes: a Lark grammar, or its JSON form.

        Raises:
            RequestError: The grammar is malformed or too large; the message says where.
        """
        from llguidance import LLMatcher  # noqa: PLC0415  (only constrained requests load it)

        matcher = LLMatcher(self._shared_tokenizer(), grammar)
        if matcher.is_error():
            raise RequestError(
                f"The output constraint cannot be compiled: {matcher.get_error().strip()}",
                help_message="Simplify the JSON schema, regular expression or tool parameters.",
            )
        return GrammarConstraint(matcher)

    def _shared_tokenizer(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _build_tokenizer(self._load_vocabulary())
            return self._tokenizer


class GrammarConstraint:
    """One request's progress through its grammar; implements `sequence.TokenConstraint`."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def mask_logits(self, logits: Tensor) -> None:
        """Set the logits of forbidden tokens to -inf, in place.

        Args:
            logits: Shape (vocab_size,); the model's vocabulary may be padded beyond the tokenizer's, and
                the padding is forbidden too.

        Raises:
            RequestError: The grammar engine gave up (a resource limit); the message says why.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        forbidden = np.unpackbits(~bits, bitorder="little").view(np.bool_)
        row = logits.numpy()  # the same memory; too few numbers to wake torch's threads for
        known = min(len(forbidden), len(row))
        np.putmask(row[:known], forbidden[:known], -np.inf)
        row[known:] = -np.inf

    def advance(self, token_id: int) -> None:
        """Consume the chosen token.

        Raises:
            RequestError: The token was not allowed.
        """
        self._matcher.consume_token(token_id)
        self._check()

    @property
    def finished(self) -> bool:
        """Whether nothing but an end token can follow."""
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise RequestError(
                f"The output constraint failed: {self._matcher.get_error().strip()}",
                help_message="Simplify the JSON schema, regular expression or tool parameters.",
            )


class _TokenTable:
    """The attributes `llguidance.TokenizerWrapper` reads."""

    def __init__(self, vocabulary: VocabularyBytes) -> None:
        tokens = list(vocabulary.token_bytes)
        for token_id, spelling in vocabulary.special_tokens.items():
            tokens[token_id] = spelling.encode()
        self.tokens = tokens
        self.special_token_ids = sorted(vocabulary.special_tokens)
        self.eos_token_id = vocabulary.eos_token_ids[0]
        self.bos_token_id = None
        self._encode = vocabulary.encode

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text if isinstance(text, bytes) else text.encode())


def _build_tokenizer(vocabulary: VocabularyBytes) -> LLTokenizer:
    from llguidance import LLTokenizer, TokenizerWrapper  # noqa: PLC0415  (see compile)

    return LLTokenizer(
        TokenizerWrapper(_TokenTable(vocabulary)),
        n_vocab=len(vocabulary.token_bytes),
        eos_token=list(vocabulary.eos_token_ids),
    )
