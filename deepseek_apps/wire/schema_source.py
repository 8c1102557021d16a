"""Reads a JSON schema as people write them: follows references, merges allOf, takes unions apart.

Knows nothing of what the API accepts; that is `wire.strict_schema`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any
from urllib.parse import unquote

from deepseek_apps.errors import InvalidRequestError

__all__ = ["Schema", "SchemaSource", "refused"]

Schema = Mapping[str, Any]

_UNIONS = ("anyOf", "oneOf")
# What a property says about itself wherever it points; everything else beside a union narrows its arms.
_ANNOTATIONS = ("title", "description", "default", "examples", "discriminator", "deprecated", "$comment")
_BOUNDS = {"minimum": max, "exclusiveMinimum": max, "maximum": min, "exclusiveMaximum": min}
# Types that are part of another: what remains when a schema asks for both.
_NARROWER = {frozenset({"number", "integer"}): "integer"}


def refused(what: str, fix: str) -> InvalidRequestError:
    """Return the error for a schema that no strict tool can have."""
    return InvalidRequestError(
        f"a strict tool's schema {what}", help_message=f"{fix}, or bind without strict."
    )


class SchemaSource:
    """One schema with the definitions its references point into.

    Args:
        root: The schema that `#` means.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root

    def resolved(self, node: object) -> Schema:
        """Return a node without reference and allOf at its top; what stands beside a reference is kept.

        Raises:
            InvalidRequestError: A reference leads nowhere, outside, or to itself, or two parts of an allOf
                exclude each other.
        """
        return self._resolved(node, ())

    def target(self, node: Schema) -> Schema:
        """Return the node that a chain of bare references ends at: what makes two places the same schema."""
        seen = 0
        while "$ref" in node and set(node) <= {"$ref", *_ANNOTATIONS} and seen < 100:
            found = self._find(node["$ref"])
            if not isinstance(found, Mapping):
                break
            node, seen = found, seen + 1
        return node

    def arms(self, node: Schema) -> list[Schema]:
        """Return the alternatives of a resolved node, itself if it has none; nested unions are flattened."""
        return self._arms(node, ())

    def _resolved(self, node: object, path: tuple[str, ...]) -> Schema:
        if node is True:
            return {}
        if not isinstance(node, Mapping):
            raise refused(f"allows nothing at one place (there is {node!r})", "Remove that property")
        parts: list[object] = []
        if (ref := node.get("$ref")) is not None:
            if ref in path:
                raise refused(f"has a reference that leads to itself: {ref!r}", "Give it a type")
            parts.append(self._resolved(self._find(ref), (*path, ref)))
        parts += [self._resolved(part, path) for part in node.get("allOf") or ()]
        if not parts:
            return node
        own = {key: value for key, value in node.items() if key not in {"$ref", "allOf"}}
        return reduce(_merged, [part for part in parts if isinstance(part, Mapping)] + [own])

    def _find(self, ref: object) -> object:
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise refused(f"points outside itself: {ref!r}", "Put the definition into the schema")
        found: object = self._root
        for step in unquote(ref[1:]).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                raise refused(f"has a reference that leads nowhere: {ref!r}", "Define it")
        return found

    def _arms(self, node: Schema, path: tuple[int, ...]) -> list[Schema]:
        union = next((key for key in _UNIONS if node.get(key)), None)
        if union is None:
            return [node]
        narrowing = {k: v for k, v in node.items() if k != union and k not in _ANNOTATIONS}
        arms: list[Schema] = []
        failure: InvalidRequestError | None = None
        for part in node[union]:
            origin = id(self.target(part)) if isinstance(part, Mapping) else 0
            if origin and origin in path:  # a union that is its own alternative adds nothing
                continue
            try:
                arm = _merged(self.resolved(part), narrowing)
            except InvalidRequestError as exc:  # an alternative that nothing fits; others may do
                failure = exc
                continue
            arms += self._arms(arm, (*path, origin))
        if not arms and failure is not None:
            raise failure
        return arms


def _merged(left: Schema, right: Schema) -> Schema:
    """Return a schema that asks for both."""
    merged = dict(left)
    for key, value in right.items():
        merged[key] = _both(key, merged[key], value) if key in merged else value
    return merged


def _both(key: str, left: Any, right: Any) -> Any:
    """Return what one keyword says when two schemas set it; most say what the second does."""
    if key in _BOUNDS and _is_number(left) and _is_number(right):
        return _BOUNDS[key](left, right)
    return _TOGETHER[key](left, right) if key in _TOGETHER else right


def _common_properties(left: Schema, right: Schema) -> Schema:
    shared = {name: {"allOf": [left[name], right[name]]} for name in left if name in right}
    return {**left, **right, **shared}


def _common_values(left: list[Any], right: list[Any]) -> list[Any]:
    common = [value for value in left if value in right]
    if not common:
        raise refused(f"asks for two lists with nothing in common: {left} and {right}", "Correct it")
    return common


def _common_type(left: Any, right: Any) -> Any:
    if left == right:
        return left
    first = left if isinstance(left, list) else [left]
    second = right if isinstance(right, list) else [right]
    pairs = [a if a == b else _NARROWER.get(frozenset({a, b})) for a in first for b in second]
    common = list(dict.fromkeys(kind for kind in pairs if kind is not None))
    if not common:
        raise refused(f"asks for {left!r} and {right!r} at once", "Correct it")
    return common[0] if len(common) == 1 else common


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TOGETHER: dict[str, Callable[[Any, Any], Any]] = {
    "properties": _common_properties,
    "required": lambda left, right: list(dict.fromkeys([*left, *right])),
    "type": _common_type,
    "enum": _common_values,
    "items": lambda left, right: left if left == right else {"allOf": [left, right]},
}
