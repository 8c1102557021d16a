"""What a caller calls a schema, made into one thing: a name, a JSON Schema, and a check of values against it.

Pydantic classes, of version 2 and 1, give instances; TypedDicts, JSON Schemas and OpenAI functions dicts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, ValidationError

from deepseek_apps.errors import SettingsError

__all__ = ["MisfitError", "OutputSchema", "output_schema"]

_MAX_FAULTS = 8
_MAX_FAULT_CHARS = 300
_MAX_NAME = 64
_DEFAULT_NAME = "Output"


class MisfitError(Exception):
    """A value that does not fit its schema.

    Attributes:
        faults: One line each, with the place and what is wrong there; at most eight.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """A schema of structured output.

    Attributes:
        source: What the caller gave; a JSON Schema without a title has been given one.
        name: Name for the wire, of the characters that function names may have.
        json_schema: JSON Schema of the answer.
    """

    source: Any
    name: str
    json_schema: dict[str, Any] = field(repr=False)

    @property
    def gives_instances(self) -> bool:
        """Whether the result is an instance of a pydantic class, not a dict."""
        return _is_pydantic(self.source)

    def parse(self, value: Any) -> Any:
        """Return the value, or an instance made of it.

        Raises:
            MisfitError: It does not fit.
            SettingsError: The schema refers to something that is not in it.
        """
        if not self.gives_instances:
            return _checked(value, self.json_schema, nulls_fit=not isinstance(self.source, dict))
        try:
            if issubclass(self.source, BaseModel):
                # As JSON, because a class in strict mode takes a date or an enum from JSON's strings only.
                return self.source.model_validate_json(json.dumps(value))
            return self.source.parse_obj(value)
        except ValidationError as error:
            raise MisfitError(_lines((e["loc"], e["msg"]) for e in error.errors(include_url=False))) from None
        except ValueError as error:  # version 1's own class of the same name
            found: list[dict[str, Any]] = (
                error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": str(error)}]
            )
            raise MisfitError(_lines((e["loc"], e["msg"]) for e in found)) from None


def output_schema(source: Any) -> OutputSchema:
    """Understand what the caller gave.

    Args:
        source: A pydantic class, a TypedDict class, a JSON Schema, or an OpenAI function or tool.

    Raises:
        SettingsError: It is none of these, or no valid JSON Schema.
    """
    if isinstance(source, dict) and not source.keys() & {"title", "name", "function"}:
        source = {"title": _DEFAULT_NAME, **source}
    try:
        name = str(convert_to_openai_tool(source)["function"]["name"])
        schema = _json_schema(source)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SettingsError(
            f"{source!r:.200} is no schema for structured output: {error}",
            help_message="Give a pydantic class, a TypedDict class, a JSON Schema or a function.",
        ) from error
    if not _is_pydantic(source):
        _validator(schema)
    return OutputSchema(source, re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:_MAX_NAME], schema)


def _is_pydantic(source: Any) -> bool:
    return isinstance(source, type) and is_basemodel_subclass(source)


def _json_schema(source: Any) -> dict[str, Any]:
    """Return the schema as its owner writes it: LangChain's conversion loses recursion and definitions."""
    if _is_pydantic(source):
        return dict(source.model_json_schema() if issubclass(source, BaseModel) else source.schema())
    if isinstance(source, dict) and ("properties" in source or "$ref" in source):
        return dict(source)
    return convert_to_json_schema(source)


def _checked(value: Any, schema: Mapping[str, Any], *, nulls_fit: bool) -> Any:
    """Return a value that fits a JSON Schema.

    Args:
        value: What the model said.
        schema: What it was asked for.
        nulls_fit: Let null pass for any type: LangChain's conversion of a TypedDict loses `| None`.
    """
    from referencing.exceptions import Unresolvable  # noqa: PLC0415  (with jsonschema, a tenth of a second)

    try:
        faults = [
            (error.absolute_path, error.message)
            for error in _validator(schema).iter_errors(value)
            if not (nulls_fit and error.validator == "type" and error.instance is None)
        ]
    except Unresolvable as error:
        raise SettingsError(
            f"the schema refers to something that is not in it: {error}",
            help_message="Put every definition under $defs of the same schema.",
        ) from error
    if faults:
        raise MisfitError(_lines(iter(faults)))
    return value


def _validator(schema: Mapping[str, Any]) -> Any:
    import jsonschema  # noqa: PLC0415  (only schemas that are no classes need it)
    from referencing import Registry  # noqa: PLC0415

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        raise SettingsError(
            f"no valid JSON Schema, at {error.json_path}: {error.message:.200}",
            help_message="See https://json-schema.org/understanding-json-schema.",
        ) from error
    return kind(schema, registry=Registry())  # an empty registry: nothing is fetched from a network


def _lines(faults: Iterator[tuple[Any, str]]) -> list[str]:
    lines = [f"{_place(path)}: {message}"[:_MAX_FAULT_CHARS] for path, message in faults]
    rest = len(lines) - _MAX_FAULTS
    return lines if rest <= 0 else [*lines[:_MAX_FAULTS], f"and {rest} more"]


def _place(path: Any) -> str:
    return ".".join(map(str, path)) or "the object"
