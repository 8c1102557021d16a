"""A JSON schema to the dialect that DeepSeek's strict tools take, saying the same with fewer words.

What the API's parser accepts was tried on `deepseek-recipe`, DeepSeek's own library: types, `anyOf` whose
arms name one type each, `$ref` into `$def` where a property or an item stands, string enums, number constants
and bounds, and five formats. It drops other keywords, or refuses them; here they are expressed, moved into
the description, or left out, and what cannot be expressed is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from deepseek_apps.wire.schema_source import Schema, SchemaSource, refused

__all__ = ["strict_schema"]

_FORMATS = frozenset({"email", "hostname", "ipv4", "ipv6", "uuid"})
_SCALARS = ("string", "number", "boolean", "null")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_MAX_INTEGER = 2**63 - 1
_MAX_DEPTH = 64
_MAX_PLACES = 5000
# Any value at all, as far as it can be said: objects need names for their properties.
_ANYTHING: list[Schema] = [*({"type": kind} for kind in _SCALARS), {"type": "array", "items": {}}]
_ANY_SCALAR: dict[str, Any] = {"type": list(_SCALARS)}
# Look-around and back-references: constrained decoding runs on automata, which have neither.
_NOT_REGULAR = re.compile(r"\(\?[^:]|\\[1-9kK]")

Strict = dict[str, Any]


def strict_schema(schema: Schema) -> dict[str, Any]:
    """Return a tool's parameters as the API takes them with `strict`.

    Definitions are inlined, recursive ones kept under `$def`; `allOf` is merged, `oneOf` becomes `anyOf`;
    constants and enums get types; all properties are required and no others allowed. Defaults, and formats
    that the API does not know, move into the description, so that the model still reads them.

    Args:
        schema: A JSON schema of an object, as pydantic or a person writes it. It is not changed.

    Raises:
        InvalidRequestError: The schema needs what strict mode lacks: an object with names of any kind
            (`dict[str, Any]`), a top level that is no object, or a reference that leads nowhere.
    """
    writer = _Writer(schema)
    strict = writer.top_level()
    if writer.definitions:
        strict["$def"] = writer.definitions
    return strict


class _Writer:
    """Writes one schema; knows which nodes are being written, so that recursion becomes a reference."""

    def __init__(self, root: Schema) -> None:
        self._source = SchemaSource(root)
        self._root = root
        self._open: dict[int, Schema] = {}  # nodes being written; kept, so that no id is used twice
        self._names: dict[int, str] = {}
        self._places = 0
        self.definitions: dict[str, Strict] = {}

    def top_level(self) -> Strict:
        arms = self._source.arms(self._source.resolved(self._root))
        kind = arms[0].get("type", "object") if len(arms) == 1 else None
        if kind not in ("object", ["object"]):
            raise refused("is no object at its top level", "Wrap it in an object with one property")
        properties = arms[0].get("properties") or {}
        return _described(arms[0], self._object(properties, 0))

    def _place(self, node: object, depth: int) -> Strict:
        """Return the schema of a property or an item, the places where a reference may stand."""
        self._places += 1
        if depth > _MAX_DEPTH or self._places > _MAX_PLACES:
            raise refused(
                f"is too large: more than {_MAX_DEPTH} levels or {_MAX_PLACES} properties", "Flatten it"
            )
        origin = self._source.target(node) if isinstance(node, Mapping) else {}
        key = id(origin)
        if key in self._open:
            name = self._names.setdefault(key, f"recursive_{len(self._names)}")
            return {"$ref": f"#/$def/{name}"}
        self._open[key] = origin
        resolved = self._source.resolved(node)
        strict = _described(resolved, self._union(self._source.arms(resolved), depth))
        del self._open[key]
        if key not in self._names:
            return strict
        self.definitions[self._names[key]] = strict
        return {"$ref": f"#/$def/{self._names[key]}"}

    def _union(self, arms: list[Schema], depth: int) -> Strict:
        written: list[Strict] = []
        for arm in arms:
            for kind in _typed(arm):
                strict = self._typed(kind, depth)
                if strict not in written:
                    written.append(strict)
        if len(written) == 1:
            return written[0]
        if all(set(one) == {"type"} and one["type"] in _SCALARS for one in written):
            return {"type": [one["type"] for one in written]}
        return {"anyOf": written}

    def _typed(self, node: Schema, depth: int) -> Strict:
        """Return one alternative: a node whose type is one name."""
        kind = node["type"]
        if kind == "object":
            if not node.get("properties"):
                raise refused(
                    "has an object whose property names are not fixed (dict[str, …] in Python)",
                    "Name its properties, or take a list of key and value pairs",
                )
            return _described(node, self._object(node["properties"], depth))
        if kind == "array":
            return _described(node, {"type": "array", "items": self._items(node, depth)})
        strict: Strict = {"type": kind}
        if kind == "string":
            strict |= _string_keywords(node)
        elif kind in {"number", "integer"}:
            strict |= _number_keywords(node, integer=kind == "integer")
        return _described(node, strict)

    def _object(self, properties: Mapping[str, Any], depth: int) -> Strict:
        return {
            "type": "object",
            "properties": {name: self._place(node, depth + 1) for name, node in properties.items()},
            "required": list(properties),
            "additionalProperties": False,
        }

    def _items(self, node: Schema, depth: int) -> Strict:
        places = [*(node.get("prefixItems") or ())]
        items = node.get("items")
        if isinstance(items, list):  # tuples, before 2020-12
            places += items
        elif isinstance(items, Mapping) and items:
            places.append(items)
        if not places:
            return dict(_ANY_SCALAR)
        return self._place(places[0] if len(places) == 1 else {"anyOf": places}, depth + 1)


def _typed(node: Schema) -> list[Schema]:
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


def _string_keywords(node: Schema) -> Strict:
    kept: Strict = {}
    if "enum" in node:
        kept["enum"] = list(dict.fromkeys(node["enum"]))
    if node.get("format") in _FORMATS:
        kept["format"] = node["format"]
    pattern = node.get("pattern")
    if isinstance(pattern, str) and _is_regular(pattern):
        kept["pattern"] = pattern
    return kept


def _number_keywords(node: Schema, *, integer: bool) -> Strict:
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


def _described(source: Schema, strict: Strict) -> Strict:
    """Put the description back, with what the API's keywords cannot say."""
    text = source.get("description")
    notes = []
    if isinstance(text, str) and text:
        notes.append(text)
    if isinstance(form := source.get("format"), str) and form not in _FORMATS:
        notes.append(f"(format: {form})")
    if "default" in source and source["default"] is not None:
        notes.append(f"(default: {json.dumps(source['default'], ensure_ascii=False, default=str)})")
    if notes and "$ref" not in strict:
        strict["description"] = " ".join(notes)
    return strict
