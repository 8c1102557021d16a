"""Reads servers.toml: how servers nobody here wrote say what DeepSeek's hosted dialect says.

Rows only. What is done with them is in deepseek_apps.backends.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, TypeAdapter

from deepseek_apps.errors import SettingsError

__all__ = [
    "GENERIC_FLAVOR",
    "FimMarkup",
    "OverflowText",
    "ServerFlavor",
    "Servers",
    "server_flavor",
    "servers",
]

GENERIC_FLAVOR = "openai"
STRICT: ConfigDict = {"extra": "forbid"}
ToolChoiceKind: TypeAlias = Literal["auto", "none", "required", "named"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlavor:
    """How one server software says what the hosted dialect says; every default is the hosted way.

    Attributes:
        name: What settings call it.
        owned_by: Values of `owned_by` in its GET /models, by which it is recognised.
        route: A path of its /openapi.json that no other server has, where `owned_by` does not tell.
        reasoning: Field that carries reasoning in messages sent to it.
        thinking: `hosted`, the field `thinking`; `template`, arguments of the chat template; `effort`, only
            reasoning_effort, where "none" is off; `none`, it cannot be asked for.
        efforts: Values of reasoning_effort that its body takes; None is all.
        prefix: How an answer's start is given: `hosted`; `continue`, continue_final_message; `trailing`, any
            last message of the assistant is continued; `none`, not at all.
        fim: `suffix`, the field is obeyed; `render`, the model's own markers go into the prompt.
        json_schema: Where response_format holds a schema: `json_schema`; `json_object`, as its `schema`;
            `none`, it cannot be enforced.
        json_object: Whether response_format json_object is obeyed.
        tool_choice: Kinds that it obeys.
        null_content: Whether a message's content may be null beside tool calls.
        strict_tools: Whether `strict` of a tool is obeyed.
        client_faults: Words of an error with status 500 that is the request's fault.
        fields: The fields of a body it does not refuse or ignore; None is all.
        quiet: Fields whose loss nobody misses.
        date: When these facts were read, from `source`.
    """

    name: str
    owned_by: tuple[str, ...] = ()
    route: str | None = None
    reasoning: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    thinking: Literal["hosted", "template", "effort", "none"] = "hosted"
    efforts: tuple[str, ...] | None = None
    prefix: Literal["hosted", "continue", "trailing", "none"] = "hosted"
    fim: Literal["suffix", "render"] = "suffix"
    json_schema: Literal["json_schema", "json_object", "none"] = "json_schema"
    json_object: bool = True
    tool_choice: tuple[ToolChoiceKind, ...] = ("auto", "none", "required", "named")
    null_content: bool = True
    strict_tools: bool = True
    client_faults: tuple[str, ...] = ()
    fields: tuple[str, ...] | None = None
    quiet: tuple[str, ...] = ()
    date: dt.date
    source: str
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    @property
    def speaks_hosted(self) -> bool:
        """Whether requests need no translation."""
        told_by = {"name", "owned_by", "route", "date", "source"}
        columns = [column for column in fields(self) if column.name not in told_by]
        return all(getattr(self, column.name) == column.default for column in columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class FimMarkup:
    """How models whose names hold one of `names` mark a hole: a template with {prompt} and {suffix}."""

    names: tuple[str, ...]
    template: str
    date: dt.date
    source: str
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def render(self, prompt: str, suffix: str) -> str:
        """Return the marked prompt; braces in the texts are text."""
        before, _, rest = self.template.partition("{prompt}")
        between, _, after = rest.partition("{suffix}")
        return f"{before}{prompt}{between}{suffix}{after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverflowText:
    """Words by which an error says that prompt and answer do not fit the context."""

    pattern: str
    date: dt.date
    source: str
    __pydantic_config__: ClassVar[ConfigDict] = STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """All rows of servers.toml."""

    servers: tuple[ServerFlavor, ...]
    fim: tuple[FimMarkup, ...]
    overflow: tuple[OverflowText, ...]
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def owned_by(self, owners: set[str]) -> ServerFlavor | None:
        """Return the software that names itself so in GET /models."""
        return next((row for row in self.servers if owners.intersection(row.owned_by)), None)

    def with_route(self, routes: Mapping[str, object]) -> ServerFlavor | None:
        """Return the software that has a route no other has."""
        return next((row for row in self.servers if row.route is not None and row.route in routes), None)

    def fim_markup(self, model: str) -> FimMarkup | None:
        """Return how a model marks a hole, judged by its name."""
        lower = model.lower()
        return next((row for row in self.fim if any(name in lower for name in row.names)), None)

    def is_overflow(self, message: str) -> bool:
        """Whether an error's text says that the context is too small."""
        return any(row.pattern in message for row in self.overflow)


@cache
def servers() -> Servers:
    """Return the rows; read once."""
    text = resources.files(__package__).joinpath("servers.toml").read_text(encoding="utf-8")
    return TypeAdapter(Servers).validate_python(tomllib.loads(text))


def server_flavor(name: str) -> ServerFlavor:
    """Return the row of a server software.

    Raises:
        SettingsError: There is none of that name.
    """
    rows = {row.name: row for row in servers().servers}
    if name not in rows:
        raise SettingsError(
            f"no server software is known as {name!r}",
            help_message=f"Use one of {', '.join(sorted(rows))}, or leave flavor out to have it recognised.",
        )
    return rows[name]
