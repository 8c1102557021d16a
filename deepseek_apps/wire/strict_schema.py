"""A JSON schema to the dialect that DeepSeek's strict tools take, saying the same with fewer words.

What the API's parser accepts was tried on `deepseek-recipe`, DeepSeek's own library: types, `anyOf` whose
arms name one type each, `$ref` into `$def` where a property or an item stands, string enums, number constants
and bounds, and five formats. It drops other keywords, or refuses them; here they are expressed, moved into
the description, or left out, and what cannot be expressed is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deepseek_apps.wire.schema_source import Schema, SchemaSource, refused
from deepseek_apps.wire.strict_types import (
    FORMATS,
    SCALARS,
    Strict,
    number_keywords,
    string_keywords,
    typed_nodes,
)

__all__ = ["strict_schema"]

_MAX_DEPTH = 64
_MAX_PLACES = 5000


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
            for kind in typed_nodes(arm):
                strict = self._typed(kind, depth)
                if strict not in written:
                    written.append(strict)
        if len(written) == 1:
            return written[0]
        if all(set(one) == {"type"} and one["type"] in SCALARS for one in written):
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
            strict |= string_keywords(node)
        elif kind in {"number", "integer"}:
            strict |= number_keywords(node, integer=kind == "integer")
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
            return {"type": list(SCALARS)}
        return self._place(places[0] if len(places) == 1 else {"anyOf": places}, depth + 1)


def _described(source: Schema, strict: Strict) -> Strict:
    """Put the description back, with what the API's keywords cannot say."""
    text = source.get("description")
    notes = []
    if isinstance(text, str) and text:
        notes.append(text)
    if isinstance(form := source.get("format"), str) and form not in FORMATS:
        notes.append(f"(format: {form})")
    if "default" in source and source["default"] is not None:
        notes.append(f"(default: {json.dumps(source['default'], ensure_ascii=False, default=str)})")
    if notes and "$ref" not in strict:
        strict["description"] = " ".join(notes)
    return strict
