"""Checks that frozen configurations share."""

from __future__ import annotations

from collections.abc import Iterable

from local_backend.errors import ConfigError

__all__ = ["check_choice", "check_not_negative", "check_positive"]


def check_positive(config: object, names: Iterable[str]) -> None:
    """Raise ConfigError when one of these attributes is below 1."""
    for name in names:
        value = getattr(config, name)
        if value < 1:
            raise ConfigError(f"{name}={value} must be at least 1", help_message=f"Pass a larger {name}.")


def check_not_negative(config: object, name: str) -> None:
    """Raise ConfigError when an attribute is below 0; None is not set."""
    value = getattr(config, name)
    if value is not None and value < 0:
        raise ConfigError(f"{name}={value} must not be negative", help_message="Pass 0 for none.")


def check_choice(config: object, name: str, choices: tuple[str, ...]) -> None:
    """Raise ConfigError when an attribute is none of the choices."""
    value = getattr(config, name)
    if value not in choices:
        raise ConfigError(
            f"{name}={value!r} is not known", help_message=f"Known values: {', '.join(choices)}."
        )
