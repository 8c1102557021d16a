"""One type at a time: what strict mode keeps of strings, numbers and fixed values.

Unions, objects and references are `wire.strict_schema`'s part.
"""

from __future__ import annotations

import math
import re
from typing import Any

from deepseek_apps.wire.schema_source import Schema, refused

__all__ = ["FORMATS", "SCALARS", "Strict", "number_keywords", "string_keywords", "typed_nodes"]

Strict = dict[str, Any]

FORMATS = frozenset({"email", "hostname", "ipv4", "ipv6", "uuid"})
SCALARS = ("string", "number", "boolean", "null")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_MAX_INTEGER = 2**63 - 1
# Any value at all, as far as it can be said: objects need names for their properties.
_ANYTHING: list[Schema] = [*({"type": kind} for kind in SCALARS), {"type": "array", "items": {}}]
# Look-around and back-references: constrained decoding runs on automata, which have neither.
_NOT_REGULAR = re.compile(r"\(\?[^:]|\\[1-9kK]")


def typed_nodes(node: Schema) -> list[Schema]:
    """Return a node without union as nodes that each name one type."""
    types = node.get("type")
    if "const" in node or "enum" in node:
        values = [node["const"]] if "const" in node else list(node["enum"])
        values += [None] if node.get("nullable") is True else []
        typed = _typed_values(values, types)
        base = {"description": node["description"]} if "description" in node and len(typed) == 1 else {}
        return [{**base, **one} for one in typed]
    if types is None:
        types = next((kind for kind, word in _IMPLIED if word in node), None)
    if types is None:
        return _ANYTHING
    kinds = [types] if isinstance(types, str) else list(types)
    if node.get("nullable") is True:
        kinds.append("null")
    unknown = [kind for kind in kinds if kind not in _KNOWN]
    if unknown or not kinds:
        raise refused(f"has the type {unknown or kinds!r}", f"Use {', '.join(_KNOWN)}")
    if len(set(kinds)) > 1:  # what they share is said once, where they stand
        node = {key: value for key, value in node.items() if key not in {"description", "default"}}
    return [{**node, "type": kind} for kind in dict.fromkeys(kinds)]


_KNOWN = ("object", "array", "string", "number", "integer", "boolean", "null")
_IMPLIED = (
    ("object", "properties"), ("object", "additionalProperties"), ("array", "items"), ("array",
    "prefixItems"), ("string", "pattern"), ("string", "format"), ("string", "minLength"), ("string",
    "maxLength"), ("number", "minimum"), ("number", "maximum"), ("number", "multipleOf"),
)  # fmt: skip


def _typed_values(values: list[Any], types: Any) -> list[Schema]:
    """Return fixed values as typed nodes: one for all strings, one for each number."""
    nodes: list[Schema] = []
    if strings := [value for value in values if isinstance(value, str)]:
        nodes.append({"type": "string", "enum": strings})
    for value in values:
        if isinstance(value, bool):
            nodes.append({"type": "boolean"})
        elif isinstance(value, int | float):
            whole = isinstance(value, int) and types != "number"
            nodes.append({"type": "integer" if whole else "number", "const": value})
        elif value is None:
            nodes.append({"type": "null"})
        elif not isinstance(value, str):
            raise refused(f"has an object or list as a fixed value: {value!r}", "Use text or a number")
    if not nodes:
        raise refused("has an enum without values", "Give it some")
    return nodes


def string_keywords(node: Schema) -> Strict:
    """Return what stays of a string: its values, a format and a pattern that the API knows."""
    kept: Strict = {}
    if "enum" in node:
        kept["enum"] = list(dict.fromkeys(node["enum"]))
    if node.get("format") in FORMATS:
        kept["format"] = node["format"]
    pattern = node.get("pattern")
    if isinstance(pattern, str) and _is_regular(pattern):
        kept["pattern"] = pattern
    return kept


def number_keywords(node: Schema, *, integer: bool) -> Strict:
    """Return what stays of a number: bounds and a constant; an integer's are rounded into its range."""
    kept = {key: node[key] for key in (*_BOUNDS, "const") if _is_number(node.get(key))}
    if kept.get("multipleOf", 1) <= 0:
        del kept["multipleOf"]
    if not integer:
        return kept
    whole: Strict = {}
    for key, value in kept.items():
        rounded = math.ceil(value) if key in {"minimum", "exclusiveMaximum"} else math.floor(value)
        exact = rounded == value or key in _BOUNDS[:4]
        if exact and abs(rounded) <= _MAX_INTEGER:
            whole[key] = rounded
    return whole


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_regular(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return _NOT_REGULAR.search(pattern) is None
