"""Facts about DeepSeek's hosted models, as rows with a date and a source."""

from deepseek_apps.catalog.catalog import (
    Catalogue,
    HostedModel,
    Price,
    Prices,
    RetiredName,
    canonical_name,
    catalogue,
    prices,
)

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
