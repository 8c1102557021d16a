"""Facts about DeepSeek's hosted models, as rows with a date and a source."""

from deepseek_apps.catalog.catalog import Catalogue, canonical_name, catalogue, limit
from deepseek_apps.catalog.pricing import price_history, price_of, prices
from deepseek_apps.catalog.rows import Currency, HostedModel, Limit, Price, Prices, RetiredName

__all__ = [
    "Catalogue",
    "Currency",
    "HostedModel",
    "Limit",
    "Price",
    "Prices",
    "RetiredName",
    "canonical_name",
    "catalogue",
    "limit",
    "price_history",
    "price_of",
    "prices",
]
