"""Reads models.toml and prices.toml into frozen rows. Which facts hold is data; there is no model name here.

Models that run on this machine have their own catalogue in local_backend.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Literal

from deepseek_apps.errors import SettingsError

__all__ = [
    "Catalogue",
    "HostedModel",
    "Price",
    "Prices",
    "RetiredName",
    "canonical_name",
    "catalogue",
    "prices",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """A model of DeepSeek's API.

    Attributes:
        id: Name on the wire.
        checkpoint: The published weights behind it.
        context: Longest prompt plus answer, in tokens.
        max_output: Largest max_tokens.
        thinking: Whether it can think before it answers.
        images: Whether it sees images; where not, the API drops them silently.
        date: When these facts were read, from `source`.
    """

    id: str
    checkpoint: str
    context: int
    max_output: int
    thinking: bool
    images: bool
    date: date
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredName:
    """A model name that is never sent, and what says the same today."""

    name: str
    model: str
    thinking: Literal["enabled", "disabled"]
    date: date
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Per million tokens: prompt tokens found in the cache, not found, and generated."""

    hit: float
    miss: float
    output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What one model costs in one currency, in and out of peak hours."""

    model: str
    currency: Literal["USD", "CNY"]
    off_peak: Price
    peak: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All facts of models.toml.

    Attributes:
        base_url: Address of the hosted API.
        default_model: Hosted model that answers when none is named.
        default_local_model: The same for the embedded engine.
        models: By id.
        aliases: Other accepted names, to the id they mean.
        retired: Names that are never sent, by name.
    """

    base_url: str
    default_model: str
    default_local_model: str
    models: Mapping[str, HostedModel]
    aliases: Mapping[str, str]
    retired: Mapping[str, RetiredName]

    def is_hosted_name(self, name: str) -> bool:
        """Whether the hosted API has, takes or once had a model of this name."""
        return name in self.models or name in self.aliases or name in self.retired


@cache
def catalogue() -> Catalogue:
    """Return the facts about hosted models; read once."""
    data = _read("models.toml")
    return Catalogue(
        base_url=data["hosted"]["base_url"],
        default_model=data["hosted"]["default"],
        default_local_model=data["local"]["default"],
        models={row["id"]: HostedModel(**row) for row in data["models"]},
        aliases={row["name"]: row["model"] for row in data["aliases"]},
        retired={row["name"]: RetiredName(**row) for row in data["retired"]},
    )


@cache
def prices() -> tuple[Prices, ...]:
    """Return what the hosted models cost; read once."""
    rows = _read("prices.toml")["prices"]
    return tuple(
        Prices(**row | {"off_peak": Price(**row["off_peak"]), "peak": Price(**row["peak"])}) for row in rows
    )


def canonical_name(name: str) -> str:
    """Return the name to send to the hosted API; names it does not know pass unchanged.

    Raises:
        SettingsError: The name is retired; the message says what to use instead.
    """
    facts = catalogue()
    if retired := facts.retired.get(name):
        raise SettingsError(
            f"the model name {name!r} was retired by DeepSeek on {retired.date}",
            help_message=f'Use "{retired.model}" with thinking {retired.thinking}: '
            f'extra_body={{"thinking": {{"type": "{retired.thinking}"}}}}.',
        )
    return facts.aliases.get(name, name)


def _read(filename: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath(filename).read_text(encoding="utf-8"))
