"""Turn a stream of token ids into text, never showing half a character."""

from __future__ import annotations

import codecs

from local_backend.families.tokenizer import Tokenizer

__all__ = ["Detokenizer"]


class Detokenizer:
    """Decodes one output incrementally.

    A character whose bytes are spread over several tokens appears with its last byte; bytes that can never
    become a character appear as U+FFFD at once. Joining all pieces gives `Tokenizer.decode` of all ids.

    Args:
        tokenizer: The model's tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the text that this token completes; empty while a character is unfinished."""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def finish(self) -> str:
        """Return what is left: U+FFFD for a character cut off, else nothing. Then starts afresh."""
        return self._decoder.decode(b"", final=True)
