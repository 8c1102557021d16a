"""Which model a target is asked for, given what the caller called it: pure.

A hosted name such as deepseek-flash means "the usual one" wherever it is not served; a name of one's own goes
unchanged to the preferred target, and elsewhere only if it is served there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from deepseek_apps.backends import Target
from deepseek_apps.catalog import catalogue

__all__ = ["needs_served_names", "target_model"]


def needs_served_names(target: Target, asked: str | None, *, preferred: bool) -> bool:
    """Whether a server has to be asked what it serves before it is known what to ask it for."""
    if target.kind != "server" or asked is None or asked == target.default_model:
        return False
    return not preferred or catalogue().is_hosted_name(asked)


def target_model(
    target: Target,
    asked: str | None,
    *,
    preferred: bool,
    served: Collection[str] = (),
    is_pulled: Callable[[str], bool] = lambda _: False,
) -> str | None:
    """Return the model to name in a request to a target; None leaves the request as it is.

    Args:
        target: Who is asked.
        asked: What the caller named.
        preferred: Whether the target is the one that callers see as theirs, whose names they use.
        served: What a server says it serves, first its default.
        is_pulled: Whether a name is a model on this machine.
    """
    if asked is None or asked == target.default_model:
        return asked
    hosted_name = catalogue().is_hosted_name(asked)
    if preferred and not hosted_name:
        return asked
    if target.kind == "hosted":
        return asked if hosted_name else target.default_model
    if target.kind == "local":
        return asked if not hosted_name and is_pulled(asked) else target.default_model
    if asked in served:
        return asked
    return target.default_model or next(iter(served), None)
