"""Thinking as callers may ask for it, and as the API takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from deepseek_apps.errors import SettingsError

__all__ = ["ReasoningEffort", "ThinkingOption", "thinking_field"]

ThinkingOption: TypeAlias = bool | Literal["enabled", "disabled", "adaptive"] | Mapping[str, Any]
# The names that the API takes; which of them mean the same changed twice in 2026 and is left to the backend.
ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"]
THINKING_TYPES = ("enabled", "disabled", "adaptive")


def thinking_field(value: ThinkingOption | None) -> dict[str, Any] | None:
    """Return `thinking` as the API takes it; None leaves it out, which the hosted API reads as enabled.

    Raises:
        SettingsError: It is none of True, False, "enabled", "disabled", "adaptive" and {"type": one of
        these}.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return {"type": "enabled" if value else "disabled"}
    fields = dict(value) if isinstance(value, Mapping) else {"type": value}
    if fields.get("type") not in THINKING_TYPES:
        raise SettingsError(
            f"thinking={value!r} is not understood",
            help_message="Use True, False, or {'type': 'enabled' | 'disabled' | 'adaptive'}.",
        )
    return fields
