"""Fills a JSON Schema with the plainest instance that fits it, the same one every time. Pure.

Not a validator: what a schema cannot say on its own (`pattern`, `not`, `if`) is not looked at, unless an
example or a default is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

__all__ = ["fill_schema"]

Schema: TypeAlias = Mapping[str, Any]

_MAX_DEPTH = 12
_FORMATS = MappingProxyType(
    {
        "date": "2026-01-02",
        "date-time": "2026-01-02T03:04:05Z",
        "duration": "PT1H",
        "email": "user@example.com",
        "hostname": "example.com",
        "ipv4": "192.0.2.1",
        "ipv6": "2001:db8::1",
        "time": "03:04:05Z",
        "uri": "https://example.com/",
        "url": "https://example.com/",
        "uuid": "00000000-0000-4000-8000-000000000000",
    }
)


def fill_schema(schema: Schema) -> object:
    """Return an instance of a JSON Schema.

    Objects get every property, arrays their fewest items (one where that is open), strings the word "text"
    or a value of their format, numbers the allowed one nearest to 1. Recursive schemas end at optional
    properties, empty arrays and null.

    Args:
        schema: As pydantic or a tool writes it; `$ref` into `$defs`, `$def` or `definitions` is followed.

    Raises:
        ValueError: A `$ref` leads nowhere, or a schema needs itself without end.
    """
    return _fill(schema, schema, 0)


def _fill(schema: object, root: Schema, depth: int) -> object:
    if not isinstance(schema, Mapping):
        return "text"
    if depth > 3 * _MAX_DEPTH:
        raise ValueError(f"the schema needs itself without end: {dict(root)}")
    given = _given(schema)
    if given is not None:
        return given[0]
    combined = _combined(schema, root, depth)
    return _typed(schema, root, depth) if combined is None else _fill(combined, root, depth + 1)


def _given(schema: Schema) -> tuple[object] | None:
    """Return the value that the schema itself names, in a tuple; None where it names none."""
    if "const" in schema:
        return (schema["const"],)
    if schema.get("default") is not None:
        return (schema["default"],)
    named = schema.get("enum") or schema.get("examples")
    return (named[0],) if named else None


def _combined(schema: Schema, root: Schema, depth: int) -> Schema | None:
    """Return the schema that a reference or a combination stands for, None where there is neither."""
    if "$ref" in schema:
        return _resolved(schema["$ref"], root)
    if schema.get("allOf"):
        return _merged(schema, root)
    options = schema.get("anyOf") or schema.get("oneOf")
    return _choice(options, depth) if options else None


def _typed(schema: Schema, root: Schema, depth: int) -> object:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        return _array(schema, root, depth)
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    if kind == "boolean":
        return True
    return None if kind == "null" else _string(schema)


def _object(schema: Schema, root: Schema, depth: int) -> dict[str, object]:
    required = schema.get("required") or ()
    properties = schema.get("properties") or {}
    shown = {name: part for name, part in properties.items() if depth < _MAX_DEPTH or name in required}
    return {name: _fill(part, root, depth + 1) for name, part in shown.items()}


def _array(schema: Schema, root: Schema, depth: int) -> list[object]:
    fixed = [_fill(part, root, depth + 1) for part in schema.get("prefixItems") or ()]
    least = schema.get("minItems", 0)
    wanted = max(least, 1 if not fixed and depth < _MAX_DEPTH else 0)
    wanted = min(wanted, schema.get("maxItems", wanted))
    item = schema.get("items", {})
    return fixed + [_fill(item, root, depth + 1) for _ in range(wanted - len(fixed))]


def _number(schema: Schema, *, whole: bool) -> float:
    step = schema.get("multipleOf", 1 if whole else 0)
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    gap = step or 2**-20
    low = max(low, schema.get("exclusiveMinimum", -math.inf) + gap)
    high = min(high, schema.get("exclusiveMaximum", math.inf) - gap)
    value = min(max(1, low), high)
    if step:
        value = math.ceil(value / step) * step
        value = value if value <= high else math.floor(high / step) * step
    return int(value) if whole else value


def _string(schema: Schema) -> str:
    text = str(_FORMATS.get(schema.get("format", ""), "text"))
    text = text.ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]


def _choice(options: list[Schema], depth: int) -> Schema:
    """Take the first option, null only when there is no other or the schema recurses."""
    null = [option for option in options if option.get("type") == "null"]
    others = [option for option in options if option.get("type") != "null"]
    if null and (not others or depth >= _MAX_DEPTH):
        return null[0]
    if depth >= _MAX_DEPTH:
        return next((option for option in others if not _refers(option)), others[0])
    return others[0]


def _refers(schema: Schema) -> bool:
    return "$ref" in schema or any(isinstance(v, Mapping) and _refers(v) for v in schema.values())


def _merged(schema: Schema, root: Schema) -> dict[str, Any]:
    """Fold `allOf` into one object schema."""
    merged: dict[str, Any] = {word: value for word, value in schema.items() if word != "allOf"}
    for part in schema["allOf"]:
        found = dict(_resolved(part["$ref"], root)) if "$ref" in part else dict(part)
        for word, value in found.items():
            if word == "properties":
                merged[word] = {**merged.get(word, {}), **value}
            elif word == "required":
                merged[word] = [*merged.get(word, []), *value]
            else:
                merged.setdefault(word, value)
    return merged


def _resolved(reference: str, root: Schema) -> Schema:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if step and not (isinstance(found, Mapping) and name in found):
            raise ValueError(f"the schema has no {reference!r}")
        found = found[name] if step else found
    if not isinstance(found, Mapping):
        raise ValueError(f"{reference!r} is no schema")
    return found
