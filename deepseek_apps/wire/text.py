"""Text that every server can parse, and JSON that stays readable."""

from __future__ import annotations

import json
import re

__all__ = ["clean_text", "json_text"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Return text that UTF-8 can carry: halves of a surrogate pair are joined, lone ones become U+FFFD.

    Lone surrogates come from file names and from JSON cut inside an escape; a request that holds one cannot
    be sent.
    """
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def json_text(value: object) -> str:
    """Return JSON with non-ASCII text as it is: models read and copy it better than escapes."""
    return clean_text(json.dumps(value, ensure_ascii=False, default=str))
