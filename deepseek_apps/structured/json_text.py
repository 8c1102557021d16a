"""Finds the JSON in a model's answer, whole or still growing. It validates nothing.

JSON mode blanks prose, but not every server has JSON mode, and models like fences and introductions.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["find_json", "partial_object"]

_FENCE = re.compile(r"```(?:[jJ][sS][oO][nN])?\s*\n(.*?)\n\s*```", re.DOTALL)
# A brace that can begin an object; a brace of prose, as in "use {name}", is followed by a letter.
_OBJECT_START = re.compile(r'\{\s*["}]')


def find_json(text: str) -> Any:
    """Return the JSON value of an answer.

    The answer as a whole, else its first fenced block, else its first object; raw line breaks inside strings
    are let pass.

    Raises:
        ValueError: There is none, or it is incomplete; the text says where it stops being JSON.
    """
    decoder = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)
    try:
        return decoder.decode(text.strip())
    except ValueError as error:
        complaint = error
    if fence := _FENCE.search(text):
        try:
            return decoder.decode(fence[1].strip())
        except ValueError as error:
            complaint = error
    if start := _OBJECT_START.search(text):
        return decoder.raw_decode(text, start.start())[0]
    raise complaint


def partial_object(text: str) -> dict[str, Any] | None:
    """Return the object that has arrived so far, its last string unfinished; None before it begins.

    Fast enough to be called for every token: the parser is pydantic's, in native code.
    """
    # Lazy: pydantic_core is loaded by whoever has a chat model, and not by `--help`.
    from pydantic_core import from_json  # noqa: PLC0415

    start = text.find("{")
    if start < 0:
        return None
    try:
        value = from_json(text[start:], allow_partial="trailing-strings")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
