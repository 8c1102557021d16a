"""fill_schema gives instances that a validator of JSON Schema accepts, the same ones every time."""

from __future__ import annotations

import enum
import uuid
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from deepseek_apps.testing import fill_schema


class Colour(enum.Enum):
    RED = "red"


class Node(BaseModel):
    name: str
    children: list[Node] = Field(min_length=0)
    parent: Node | None
    other: Node | None = None


class Everything(BaseModel):
    text: Annotated[str, Field(min_length=6, max_length=8)]
    short: Annotated[str, Field(max_length=2)]
    whole: Annotated[int, Field(gt=-1000, lt=1000)]
    large: Annotated[int, Field(ge=10, multiple_of=7)]
    real: Annotated[float, Field(gt=1, lt=1.5)]
    colour: Colour
    kind: Literal["a", "b"]
    day: date
    number: uuid.UUID
    pair: tuple[int, str]
    many: Annotated[list[int], Field(min_length=2, max_length=3)]
    maybe: int | None
    either: int | str
    known: str = "default"
    tree: Node
    anything: dict[str, Any]


@pytest.mark.parametrize("model", [Everything, Node])
def test_pydantic_models_are_filled(model: type[BaseModel]) -> None:
    value = fill_schema(model.model_json_schema())
    model.model_validate(value)
    assert fill_schema(model.model_json_schema()) == value


def scalars() -> st.SearchStrategy[dict[str, Any]]:
    low = st.integers(-50, 50)
    return st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": ["null", "string"]}),
        st.builds(lambda a, b: {"type": "integer", "minimum": a, "maximum": a + b}, low, st.integers(0, 9)),
        st.builds(lambda a: {"type": "number", "exclusiveMaximum": a}, low),
        st.builds(
            lambda a, b: {"type": "string", "minLength": a, "maxLength": a + b}, *[st.integers(0, 9)] * 2
        ),
        st.builds(lambda values: {"enum": values}, st.lists(st.text() | low, min_size=1)),
        st.builds(lambda value: {"const": value}, low | st.none()),
    )


def bigger(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def as_object(properties: dict[str, Any], combined: list[Any]) -> dict[str, Any]:
        shape = {"type": "object", "properties": properties, "required": list(properties)}
        return {"allOf": [shape, {"type": "object", "properties": {"z": {"anyOf": combined}}}]}

    return st.one_of(
        st.builds(as_object, st.dictionaries(st.sampled_from("abc"), part), st.lists(part, min_size=1)),
        st.builds(
            lambda item, least: {"type": "array", "items": item, "minItems": least}, part, st.integers(0, 3)
        ),
        st.builds(
            lambda first: {"type": "array", "prefixItems": first, "maxItems": len(first)}, st.lists(part)
        ),
    )


@settings(max_examples=200, deadline=None)
@given(schema=st.recursive(scalars(), bigger, max_leaves=6))
def test_filled_values_are_valid(schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(fill_schema(schema))


def test_references_into_defs_of_either_spelling_are_followed() -> None:
    for container in ("$defs", "$def", "definitions"):
        schema = {"$ref": f"#/{container}/a~1b", container: {"a/b": {"const": 5}}}
        assert fill_schema(schema) == 5


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/missing"},
        {"$ref": "#/title", "title": "x"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ],
)
def test_schemas_without_an_end_are_errors(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has no|no schema|without end"):
        fill_schema(schema)


def test_an_open_schema_gets_something() -> None:
    assert fill_schema({}) == "text"
    assert fill_schema({"type": "array"}) == ["text"]
    assert fill_schema({"properties": {"a": True}}) == {"a": "text"}
