"""What a call cost, or would cost: token counts times the price that held at its hour. Pure; asks no clock.

Prices, peak hours and holidays are rows of the catalogue. Amounts are exact Decimals in the currency's main
unit (dollars, yuan), not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from deepseek_apps._token_counts import TokenCounts
from deepseek_apps.catalog.hours import is_peak, is_peak_certain, next_change, next_off_peak
from deepseek_apps.catalog.pricing import price_of
from deepseek_apps.catalog.rows import Currency, Price, Prices
from deepseek_apps.settings import ServerPrice

__all__ = [
    "Cost",
    "Currency",
    "TokenCounts",
    "cost_at_price",
    "cost_of",
    "cost_of_counts",
    "estimate_cost",
    "is_peak",
    "next_change",
    "next_off_peak",
]

Period: TypeAlias = Literal["peak", "off-peak", "flat"]
MILLION = 1_000_000
NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The price of one call in one currency.

    Attributes:
        currency: USD or CNY.
        hit: For prompt tokens that the context cache held.
        miss: For the other prompt tokens.
        output: For generated tokens, thinking included.
        period: Which price held; flat where the hour makes no difference.
        saved_by_cache: What the hit tokens would have cost more without the cache.
        saved_off_peak: What the same call would have cost more in a peak hour.
        estimated: True when the holidays of that year are not known, and `peak` is an assumption.
    """

    currency: Currency
    hit: Decimal = NOTHING
    miss: Decimal = NOTHING
    output: Decimal = NOTHING
    period: Period = "flat"
    saved_by_cache: Decimal = NOTHING
    saved_off_peak: Decimal = NOTHING
    estimated: bool = False

    @property
    def total(self) -> Decimal:
        """The sum of the three parts."""
        return self.hit + self.miss + self.output

    def __str__(self) -> str:
        return f"{self.total:.6f} {self.currency}"


def cost_of(
    usage: Mapping[str, Any],
    *,
    model: str,
    at: datetime,
    currency: Currency = "USD",
    backend: str | None = None,
    price: ServerPrice | None = None,
) -> Cost | None:
    """Return what an answer cost.

    Args:
        usage: The answer's token counts, as DeepSeek, an OpenAI-compatible server or LangChain reports them.
        model: Name of the model that answered.
        at: When the call was made, with a time zone.
        currency: USD or CNY.
        backend: Who answered: local costs nothing; server has only prices of the user's own catalog.toml, and
            costs nothing without one; None looks for DeepSeek's price first.
        price: What the server costs by the config file; a row of the user's catalog.toml is more exact.

    Returns:
        The cost, or None for a model whose price at that time, or in that currency, is not known.

    Raises:
        SettingsError: `at` has no time zone, or the user's catalog.toml cannot be used.
    """
    return cost_of_counts(
        TokenCounts.from_usage(usage), model=model, at=at, currency=currency, backend=backend, price=price
    )


def estimate_cost(
    model: str,
    prompt_tokens: int,
    output_tokens: int,
    at: datetime,
    *,
    cached_tokens: int = 0,
    currency: Currency = "USD",
    backend: str | None = None,
    price: ServerPrice | None = None,
) -> Cost | None:
    """Return what a call would cost.

    Args:
        model: Any name of the model.
        prompt_tokens: All tokens of the prompt.
        output_tokens: Tokens of the answer, thinking included.
        at: When the call would be made, with a time zone.
        cached_tokens: How many of the prompt's tokens the cache holds.
        currency: USD or CNY.
        backend, price: As for `cost_of`.

    Returns:
        The cost, or None for a model whose price at that time, or in that currency, is not known.
    """
    counts = TokenCounts(prompt=prompt_tokens, hit=min(cached_tokens, prompt_tokens), output=output_tokens)
    return cost_of_counts(counts, model=model, at=at, currency=currency, backend=backend, price=price)


def cost_of_counts(
    counts: TokenCounts,
    *,
    model: str,
    at: datetime,
    currency: Currency = "USD",
    backend: str | None = None,
    price: ServerPrice | None = None,
) -> Cost | None:
    """Return the cost of token counts that are known already; see `cost_of`."""
    if backend == "local":
        return Cost(currency=currency)
    row = price_of(model, at, currency=currency, backend=backend)
    if row is not None:
        return cost_at_price(counts, row, at)
    if backend != "server":
        return None
    if price is None or price == ServerPrice():
        return Cost(currency=currency)
    # The config file's prices are in dollars.
    return cost_at_price(counts, _as_row(price, model, at), at) if currency == "USD" else None


def cost_at_price(counts: TokenCounts, row: Prices, at: datetime) -> Cost:
    """Return the cost of token counts at a price that is known already, in or out of peak hours."""
    period: Period
    if row.peak is None:
        price, other, period = row.off_peak, row.off_peak, "flat"
    elif is_peak(at):
        price, other, period = row.peak, row.peak, "peak"
    else:
        price, other, period = row.off_peak, row.peak, "off-peak"
    hit, miss, output = _parts(counts, price)
    return Cost(
        currency=row.currency,
        hit=hit,
        miss=miss,
        output=output,
        period=period,
        saved_by_cache=max(NOTHING, counts.hit * (price.miss - price.hit) / MILLION),
        saved_off_peak=sum(_parts(counts, other), NOTHING) - (hit + miss + output),
        estimated=row.peak is not None and not is_peak_certain(at),
    )


def _as_row(price: ServerPrice, model: str, at: datetime) -> Prices:
    parts = {name: Decimal(str(getattr(price, name))) for name in ("hit", "miss", "output")}
    return Prices(
        model=model,
        currency="USD",
        off_peak=Price(**parts),
        backend="server",
        date=at.date(),
        source="[servers] in the config file",
    )


def _parts(counts: TokenCounts, price: Price) -> tuple[Decimal, Decimal, Decimal]:
    return (
        counts.hit * price.hit / MILLION,
        counts.miss * price.miss / MILLION,
        counts.output * price.output / MILLION,
    )
