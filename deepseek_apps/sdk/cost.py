"""`client.cost(usage)`: the price of an answer, from whatever form it is in."""

from __future__ import annotations

from datetime import UTC, datetime

from deepseek_apps._answer_usage import answer_usage
from deepseek_apps.backends import Backend
from deepseek_apps.catalog import catalogue
from deepseek_apps.cost import Cost, Currency, cost_of
from deepseek_apps.routing.routed import targets_of

__all__ = ["cost_at"]


def cost_at(
    backend: Backend, usage: object, *, model: str | None, at: datetime | None, currency: Currency
) -> Cost | None:
    """Return the cost of an answer of a backend; see `DeepSeek.cost`.

    Raises:
        SettingsError: There are no token counts, or `at` has no time zone.
    """
    found = answer_usage(usage)
    name = model or found.model or backend.default_model or ""
    # Naming a hosted model asks what it costs at DeepSeek, whoever answered.
    compared = model is not None and catalogue().is_hosted_name(model)
    target = targets_of(backend)[0]
    return cost_of(
        found.usage,
        model=name,
        at=at or found.at or datetime.now(UTC),
        currency=currency,
        backend=None if compared else target.kind,
        price=None if compared else target.price,
    )
