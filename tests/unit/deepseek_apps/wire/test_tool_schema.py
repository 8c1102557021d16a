"""Tools and schemas for the API: what is kept, said otherwise, or refused."""

from __future__ import annotations

import copy

import pytest

from deepseek_apps.errors import InvalidRequestError
from deepseek_apps.wire.tool_schema import plain_tools, strict_schema, strict_tools


def tool(name="f", parameters=None, **function):
    function |= {} if parameters is None else {"parameters": parameters}
    return {"type": "function", "function": {"name": name, **function}}


def of(schema, **root):
    """Return what becomes of one property's schema."""
    return strict_schema({"type": "object", "properties": {"a": schema}, **root})["properties"]["a"]


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "string", "minLength": 1, "title": "A"}, {"type": "string"}),
        ({"const": "x"}, {"type": "string", "enum": ["x"]}),
        ({"const": 1}, {"type": "integer", "const": 1}),
        ({"const": True}, {"type": "boolean"}),
        ({"enum": ["x", "y"]}, {"type": "string", "enum": ["x", "y"]}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "format": "uuid"}, {"type": "string", "format": "uuid"}),
        ({"type": "string", "format": "date"}, {"type": "string", "description": "(format: date)"}),
        ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "^a+$"}),
        ({"type": "string", "pattern": "(?!a)b"}, {"type": "string"}),
        ({"type": "integer", "minimum": 0.5}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "maximum": 1e30}, {"type": "integer"}),
        ({"type": "array", "items": {"type": "null"}}, {"type": "array", "items": {"type": "null"}}),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, {"type": "integer"}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"type": ["string", "null"]}),
        ({"anyOf": [{"anyOf": [{"type": "string"}]}, {"type": "string"}]}, {"type": "string"}),
        ({"type": "null", "default": 0}, {"type": "null", "description": "(default: 0)"}),
        ({"description": "d", "$ref": "#/$defs/T"}, {"type": "string", "description": "d"}),
    ],
)  # fmt: skip
def test_what_becomes_of_a_schema(schema, strict) -> None:
    assert of(schema, **{"$defs": {"T": {"type": "string", "description": "t"}}}) == strict


def test_enums_of_numbers_keep_their_values() -> None:
    assert of({"enum": [1, "x", None]})["anyOf"] == [
        {"type": "string", "enum": ["x"]},
        {"type": "integer", "const": 1},
        {"type": "null"},
    ]


def test_anything_is_every_type_that_can_be_said() -> None:
    kinds = [arm["type"] for arm in of({})["anyOf"]]
    assert kinds == ["string", "number", "boolean", "null", "array"]


def test_all_properties_are_required_and_no_others_allowed() -> None:
    schema = strict_schema({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "null"}}})
    assert (schema["required"], schema["additionalProperties"]) == (["a", "b"], False)


def test_recursion_becomes_a_reference() -> None:
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}}}
    schema = strict_schema({"$ref": "#/$defs/N", "$defs": {"N": node}})
    (name,) = schema["$def"]
    assert schema["properties"]["next"] == {"$ref": f"#/$def/{name}"}
    inner, none = schema["$def"][name]["anyOf"]
    assert inner["properties"]["next"] == {"$ref": f"#/$def/{name}"}
    assert none == {"type": "null"}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "object"}, "names are not fixed"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "names are not fixed"),
        ({"$ref": "#/$defs/missing"}, "leads nowhere"),
        ({"$ref": "https://x/y.json"}, "points outside"),
        ({"$ref": "#/properties/a"}, "leads to itself"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "at once"),
        ({"type": "file"}, "the type"),
        (False, "allows nothing"),
    ],
)
def test_what_strict_mode_cannot_say_is_refused(schema, why) -> None:
    with pytest.raises(InvalidRequestError, match=why) as caught:
        of(schema)
    assert "without strict" in caught.value.help_message


@pytest.mark.parametrize("schema", [{"type": "string"}, {"anyOf": [{"type": "object"}, {"type": "null"}]}])
def test_the_top_level_is_an_object(schema) -> None:
    with pytest.raises(InvalidRequestError, match="top level"):
        strict_schema(schema)


def test_exploding_schemas_end() -> None:
    pair = {"type": "object", "properties": {name: {"$ref": "#/$defs/0"} for name in "ab"}}
    defs = {"0": {"type": "string"}}
    for n in range(1, 40):
        level = {"type": "object", "properties": {name: {"$ref": f"#/$defs/{n - 1}"} for name in "ab"}}
        defs[str(n)] = level
    with pytest.raises(InvalidRequestError, match="too large"):
        strict_schema({**pair, "properties": {"a": {"$ref": "#/$defs/39"}}, "$defs": defs})


def test_strict_is_all_or_none_and_names_the_tool() -> None:
    good = tool("a", {"type": "object", "properties": {"x": {"type": "string"}}})
    assert all(t["function"]["strict"] for t in strict_tools([good, tool("b")]))
    free = tool("free", {"type": "object", "properties": {"x": {"type": "object"}}})
    with pytest.raises(InvalidRequestError, match="tool 'free'"):
        strict_tools([good, free])


def test_tools_are_not_changed() -> None:
    tools = [tool("a", {"type": "object", "properties": {"x": {"const": 1, "default": 1}}}, strict=True)]
    before = copy.deepcopy(tools)
    strict_tools(tools)
    plain_tools(tools)
    assert tools == before


def test_only_functions_go_out() -> None:
    tools = [{"type": "web_search"}, tool("a", description="d", strict=False)]
    assert plain_tools(tools) == [tool("a", description="d")]


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65, None])
def test_names_the_api_refuses(name) -> None:
    with pytest.raises(InvalidRequestError, match="no tool called"):
        plain_tools([tool(name)])


def test_names_are_unique() -> None:
    with pytest.raises(InvalidRequestError, match="two tools"):
        plain_tools([tool(), tool()])
