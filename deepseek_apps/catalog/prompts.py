"""Reads prompts.toml: how each hosted model writes a conversation down. It renders nothing."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from deepseek_apps.catalog.catalog import catalogue

__all__ = ["PromptFacts", "prompt_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFacts:
    """How one model's prompts are written.

    Attributes:
        model: Hosted model.
        encoding: Version of the prompt format.
        image_edge, image_low_edge: Longest edge of an image, in pixels, that is not made smaller; the second
            for detail "low".
        image_tokens: What the largest image costs; 0 where images are dropped.
    """

    model: str
    encoding: Literal["v4", "v4.1"]
    image_edge: int = 0
    image_low_edge: int = 0
    image_tokens: int = 0


@cache
def prompt_facts(model: str) -> PromptFacts:
    """Return the facts about a hosted name, aliases and retired names included.

    Any other name gets those of the default hosted model.
    """
    facts = catalogue()
    retired = facts.retired.get(model)
    name = facts.aliases.get(model, retired.model if retired else model)
    rows = _rows()
    return rows.get(name, rows[facts.default_model])


@cache
def _rows() -> dict[str, PromptFacts]:
    text = resources.files(__package__).joinpath("prompts.toml").read_text(encoding="utf-8")
    return {row["model"]: PromptFacts(**row) for row in tomllib.loads(text)["prompts"]}
