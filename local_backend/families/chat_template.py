"""Render a model's own jinja chat template, in a sandbox, without letting content spell special tokens.

The environment matches the one Hugging Face renders templates in. `ContentGuard` replaces what looks like a
special token inside content by a nonce before rendering and puts it back afterwards as plain text.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar

import jinja2
from jinja2.ext import loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from local_backend.errors import RequestError, UnsupportedModelError
from local_backend.families.stop_strings import held_suffix

__all__ = ["ChatTemplate", "ContentGuard"]

_T = TypeVar("_T")
_LONGEST_HEAD = 256
_TEMPLATE_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: Jinja source as the model file carries it.

    Raises:
        UnsupportedModelError: The source is not valid jinja; the message names the line.
    """

    def __init__(self, source: str) -> None:
        environment = _environment()
        try:
            self._template = environment.from_string(source)
            self.variables = frozenset(find_undeclared_variables(environment.parse(source)))
        except jinja2.TemplateSyntaxError as error:
            raise UnsupportedModelError(
                f"The model's chat template is not valid jinja (line {error.lineno}): {error.message}",
                help_message="Use another file of this model.",
            ) from error
        self.source = source

    def render(self, variables: Mapping[str, object]) -> str:
        """Fill the template in.

        Raises:
            RequestError: The template refuses these messages, or stumbles over them.
        """
        try:
            return self._template.render(**variables)
        except _TEMPLATE_FAILURES as error:
            raise RequestError(
                f"The model's chat template cannot render these messages: {error}",
                help_message="Use roles in the usual order: system first, then user and assistant in turn.",
            ) from error


class ContentGuard:
    """Marks special tokens spelled by content, so that only the template's own remain special.

    One object serves one prompt: protect each string, render, then restore the result.

    Args:
        spellings: Every spelling that stands for one id of its own.
    """

    def __init__(self, spellings: Iterable[str]) -> None:
        self._spellings = tuple(sorted(filter(None, spellings), key=len, reverse=True))
        self._reversed = tuple(spelling[::-1] for spelling in self._spellings)
        self._pattern = "|".join(map(re.escape, self._spellings)) or "(?!)"
        self._spelled = re.compile(self._pattern)
        self._nonce = f"x{secrets.token_hex(8)}x"
        self._hidden: list[str] = []

    def protect(self, value: _T) -> _T:
        """Return the value with every string in it made harmless; dictionaries and lists are copied."""
        protected: Any = value
        if isinstance(value, str):
            protected = self._protect_text(value)
        elif isinstance(value, Mapping):
            protected = {self.protect(key): self.protect(item) for key, item in value.items()}
        elif isinstance(value, list | tuple):
            protected = [self.protect(item) for item in value]
        return protected  # type: ignore[no-any-return]

    def restore(self, rendered: str) -> tuple[str, list[tuple[int, int]]]:
        """Undo `protect` in a rendered prompt.

        Returns:
            The prompt, and the ranges (code points, half-open, ascending) of the template's own special
            tokens in it.
        """
        pieces: list[str] = []
        ranges: list[tuple[int, int]] = []
        length = position = 0
        for match in re.finditer(f"{self._nonce}([0-9]+)x|{self._pattern}", rendered):
            plain = rendered[position : match.start()]
            found = match[0] if match[1] is None else self._hidden[int(match[1])]
            start = length + len(plain)
            length = start + len(found)
            pieces += (plain, found)
            position = match.end()
            if match[1] is None:
                ranges.append((start, length))
        pieces.append(rendered[position:])
        return "".join(pieces), ranges

    def _protect_text(self, text: str) -> str:
        if any(spelling in text for spelling in self._spellings):
            text = self._spelled.sub(lambda match: self._hide(match[0]), text)
        # Content must not complete a token together with the template's text around it either.
        if tail := held_suffix(text, self._spellings):
            text = text[:-tail] + self._hide(text[-tail:])
        if head := held_suffix(text[:_LONGEST_HEAD][::-1], self._reversed):
            text = self._hide(text[:head]) + text[head:]
        return text

    def _hide(self, text: str) -> str:
        self._hidden.append(text)
        return f"{self._nonce}{len(self._hidden) - 1}x"


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes HTML characters, which a prompt must not."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().astimezone().strftime(layout)
