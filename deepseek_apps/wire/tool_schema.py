"""The `tools` of a request: only what the API takes, and strict all or none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from deepseek_apps.errors import InvalidRequestError
from deepseek_apps.wire.strict_schema import strict_schema

__all__ = ["plain_tools", "strict_schema", "strict_tools"]


_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def plain_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tools that the API knows, which are functions, without `strict`.

    Other providers' built-in tools (web search, code interpreters) are left out: the API answers 400 to them.

    Args:
        tools: Tools in OpenAI's form.

    Raises:
        InvalidRequestError: A name has characters that the API refuses, is too long, or is there twice.
    """
    return [_tool(function, None) for function in _functions(tools)]


def strict_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tools with `strict`, every one of them, because the API refuses a mixture.

    Args:
        tools: Tools in OpenAI's form, strict or not.

    Raises:
        InvalidRequestError: As `plain_tools`; or a tool has a schema that strict mode cannot express, and the
            message names the tool.
    """
    strict = []
    for function in _functions(tools):
        try:
            parameters = strict_schema(function.get("parameters") or {"type": "object", "properties": {}})
        except InvalidRequestError as exc:
            raise InvalidRequestError(
                f"tool {function['name']!r}: {exc}", help_message=exc.help_message
            ) from None
        strict.append(_tool(function, parameters))
    return strict


def _functions(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    functions = [tool["function"] for tool in tools if tool.get("type", "function") == "function"]
    taken: set[str] = set()
    for function in functions:
        name = function.get("name") or ""
        if _NAME.match(name) is None:
            raise InvalidRequestError(
                f"the API takes no tool called {name!r}",
                help_message="Use 1 to 64 of the characters a-z, A-Z, 0-9, _ and -.",
            )
        if name in taken:
            raise InvalidRequestError(f"two tools are called {name!r}", help_message="Rename one of them.")
        taken.add(name)
    return functions


def _tool(function: Mapping[str, Any], strict_parameters: dict[str, Any] | None) -> dict[str, Any]:
    kept = {key: function[key] for key in ("name", "description") if function.get(key)}
    if strict_parameters is not None:
        kept |= {"parameters": strict_parameters, "strict": True}
    elif function.get("parameters"):
        kept["parameters"] = function["parameters"]
    return {"type": "function", "function": kept}
