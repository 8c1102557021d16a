"""DeepSeek's own parser takes every schema we make strict, and finds nothing in it to drop."""

from __future__ import annotations

import contextlib
import json
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal
from uuid import UUID

import deepseek_recipe as recipe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from deepseek_apps.errors import InvalidRequestError
from deepseek_apps.wire.tool_schema import strict_tools


def parsed(tools):
    body = {"model": "DeepSeek-V4.1-Flash", "messages": [{"role": "user", "content": "x"}], "tools": tools}
    request = recipe.ChatCompletionRequest(json.dumps(body))
    return request.convert(recipe.ConversionOptions()).conversation.tools


def assert_taken(schema):
    strict = strict_tools([{"type": "function", "function": {"name": "f", "parameters": schema}}])
    (tool,) = parsed(strict)
    assert tool.parameters == strict[0]["function"]["parameters"]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Tree(BaseModel):
    value: int
    left: Tree | None = None
    children: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=0, lt=10)


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog"]
    name: str | None = None


class Everything(BaseModel):
    colour: Colour
    level: Level
    day: date
    id: UUID
    price: Decimal
    anything: Any
    plain: list
    pair: tuple[int, str]
    pet: Cat | Dog = Field(discriminator="kind")
    tree: Tree
    choice: Literal["x", 1, None]
    tags: set[str]
    maybe: Colour | None = None
    ratio: float = Field(1.5, gt=0, multiple_of=0.5)
    nested: list[list[Cat]] = []


@pytest.mark.parametrize("model", [Tree, Cat, Dog, Everything])
def test_pydantic_models(model) -> None:
    assert_taken(model.model_json_schema())


_NAMES = st.sampled_from(["a", "b", "中"])
_NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
_LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "number", "integer", "boolean", "array", ["string", "null"]]),
        "enum": st.lists(st.sampled_from(["x", "y", 1, 2.5, True, None]), min_size=1, max_size=3),
        "const": st.sampled_from(["x", 7, 2**70, 1.0, False, None]),
        "minimum": _NUMBERS,
        "exclusiveMaximum": _NUMBERS,
        "multipleOf": _NUMBERS,
        "format": st.sampled_from(["date", "email", "uuid", "int32"]),
        "pattern": st.sampled_from(["^a$", "(?=a)", "(", r"(a)\1"]),
        "description": st.text(max_size=4),
        "default": st.none() | st.integers() | st.text(max_size=3),
        "nullable": st.booleans(),
        "title": st.just("T"),
    },
)  # fmt: skip
_REFS = st.sampled_from(["#", "#/$defs/A", "#/$defs/B", "#/properties/a"]).map(lambda ref: {"$ref": ref})


def _composed(inner):
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.dictionaries(_NAMES, inner, max_size=2).map(lambda p: {"type": "object", "properties": p}),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"anyOf": several}, optional={"type": st.just("string")}),
        st.fixed_dictionaries({"oneOf": several}, optional={"description": st.just("d")}),
        st.fixed_dictionaries({"allOf": several}),
        st.fixed_dictionaries({"prefixItems": several}),
    )


_SCHEMAS = st.recursive(_LEAVES | _REFS, _composed, max_leaves=8)


@settings(deadline=None, max_examples=100)
@given(properties=st.dictionaries(_NAMES, _SCHEMAS, max_size=3), a=_SCHEMAS, b=_SCHEMAS)
def test_any_schema_is_taken_or_refused_by_us(properties, a, b) -> None:
    schema = {"type": "object", "properties": properties, "$defs": {"A": a, "B": b}}
    with contextlib.suppress(InvalidRequestError):
        assert_taken(schema)
