"""What is bound to a model so that it answers by a plan: response format or tool, and a note for tracing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool

from deepseek_apps.structured.plan import Plan
from deepseek_apps.structured.schema import OutputSchema

__all__ = ["bound_model", "closed"]

# Below these, closing an object would contradict what its siblings add to it.
_OPEN_ENDED = ("allOf", "$ref", "patternProperties", "unevaluatedProperties")


def bound_model(
    model: BaseChatModel, plan: Plan, strict: bool | None, extra: Mapping[str, Any]
) -> Runnable[LanguageModelInput, AIMessage]:
    """Return the model with everything bound that the plan needs.

    Args:
        model: The chat model.
        plan: Method and schema.
        strict: Exact enforcement, which allows no optional fields; None leaves it to the backend.
        extra: The caller's own keyword arguments; they win.
    """
    kwargs: dict[str, Any] = {}
    if plan.schema is not None:
        kwargs["ls_structured_output_format"] = {
            "kwargs": {"method": plan.method, "strict": strict},
            "schema": plan.schema.source,
        }
    if plan.method == "function_calling" and plan.schema is not None:
        kwargs |= {"tool_choice": plan.schema.name, "strict": strict, **extra}
        return model.bind_tools([_tool(plan.schema)], **kwargs)
    kwargs["response_format"] = _response_format(plan, strict)
    bound = model.bind_tools(extra["tools"]) if plan.tools_bound else model
    others = {name: value for name, value in extra.items() if name != "tools"}
    return bound.bind(**kwargs | others)


def closed(schema: Any) -> Any:
    """Return a JSON Schema whose objects have the properties they list and no others, unless they say so.

    A small model that may add properties adds them, and one under a grammar may never stop.
    """
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {
        key: value if key in ("allOf", "enum", "const", "default") else closed(value)
        for key, value in schema.items()
    }
    is_object = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    if is_object and not any(key in schema for key in _OPEN_ENDED):
        copy.setdefault("additionalProperties", False)
    return copy


def _response_format(plan: Plan, strict: bool | None) -> dict[str, Any]:
    if not plan.native or plan.schema is None:
        return {"type": "json_object"}
    schema = plan.schema.json_schema if strict is False else closed(plan.schema.json_schema)
    # Strict refuses schemas with optional fields, and backends that enforce schemas do so without it.
    exact = {} if strict is None else {"strict": strict}
    return {"type": "json_schema", "json_schema": {"name": plan.schema.name, "schema": schema, **exact}}


def _tool(schema: OutputSchema) -> Any:
    """Return the schema as a tool: the caller's own object, unless its name cannot be a function's."""
    tool = convert_to_openai_tool(schema.source)
    if tool["function"]["name"] == schema.name:
        return schema.source
    return {**tool, "function": {**tool["function"], "name": schema.name}}
