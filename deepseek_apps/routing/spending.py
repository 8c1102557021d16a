"""What the ledger adds up to: calls, tokens and money by day, model, backend, recipe or run. Only reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias, cast

from deepseek_apps.catalog import Currency
from deepseek_apps.routing.ledger import Ledger, from_pico

__all__ = ["GROUPS", "Grouping", "Spending", "spending_between", "spending_by"]

Grouping: TypeAlias = Literal["day", "model", "backend", "recipe", "run"]
# Days are those of this machine's clock on the wall.
GROUPS: dict[Grouping, str] = {
    "day": "date(at, 'unixepoch', 'localtime')",
    "model": "model",
    "backend": "backend",
    "recipe": "recipe",
    "run": "CASE WHEN recipe = '' THEN run ELSE recipe || ' ' || run END",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Calls of one group, added up.

    Attributes:
        key: The day, model, backend, recipe or run; empty for calls that have none.
        calls: How many there were.
        failed: Those of them that brought no complete answer.
        prompt, hit, output, reasoning: Tokens: of prompts, those of them that were cached, generated, and the
            thinking among those.
        cost, saved_by_cache, saved_off_peak: Amounts in the currency that was asked for.
        estimated: Calls whose counts or price are estimates.
        unpriced: Calls that are not in `cost`, because their price is not known.
    """

    key: str
    calls: int = 0
    failed: int = 0
    prompt: int = 0
    hit: int = 0
    output: int = 0
    reasoning: int = 0
    cost: Decimal = Decimal(0)
    saved_by_cache: Decimal = Decimal(0)
    saved_off_peak: Decimal = Decimal(0)
    estimated: int = 0
    unpriced: int = 0

    @property
    def hit_share(self) -> float | None:
        """The part of prompt tokens that the cache held, 0 to 1; None without any."""
        return self.hit / self.prompt if self.prompt else None


def spending_by(
    ledger: Ledger, by: Grouping, since: datetime, until: datetime, *, currency: Currency = "USD"
) -> list[Spending]:
    """Return the sums of each group: days in order, others by cost, largest first.

    Args:
        ledger: The calls.
        by: What to group by.
        since, until: The calls sent from the first instant on, and before the second; both with a time zone.
        currency: USD or CNY.
    """
    order = "key" if by == "day" else "SUM({money}) DESC, COUNT(*) DESC, key"
    return _select(ledger, f"{GROUPS[by]} AS key", "GROUP BY key ORDER BY " + order, (since, until), currency)


def spending_between(
    ledger: Ledger, since: datetime, until: datetime, *, currency: Currency = "USD", key: str = ""
) -> Spending:
    """Return the sum of all calls between two instants, as `spending_by` counts them."""
    found = _select(ledger, "? AS key", "GROUP BY key", (since, until), currency, key)
    return found[0] if found else Spending(key=key)


def _select(
    ledger: Ledger, key: str, ending: str, period: tuple[datetime, datetime], currency: Currency, *values: str
) -> list[Spending]:
    money = currency.lower()
    # Nothing of the user's is in the text of the query: the key and the money are constants of ours.
    query = f"""
        SELECT {key}, COUNT(*), SUM(outcome != 'ok'), SUM(prompt), SUM(hit), SUM(output), SUM(reasoning),
            SUM({money}), SUM(saved_cache_{money}), SUM(saved_hours_{money}), SUM(estimated),
            SUM({money} IS NULL AND status = 200)
        FROM calls WHERE at >= ? AND at < ? {ending.format(money=money)}"""  # noqa: S608
    rows = ledger.rows(query, (*values, *(instant.timestamp() for instant in period)))
    return [_spending(row) for row in rows]


def _spending(row: tuple[object, ...]) -> Spending:
    key, *counts = row
    calls, failed, prompt, hit, output, reasoning, cost, cache, hours, estimated, unpriced = cast(
        "list[int]", counts
    )
    return Spending(
        key=str(key),
        calls=calls,
        failed=failed,
        prompt=prompt,
        hit=hit,
        output=output,
        reasoning=reasoning,
        cost=from_pico(cost),
        saved_by_cache=from_pico(cache),
        saved_off_peak=from_pico(hours),
        estimated=estimated,
        unpriced=unpriced,
    )
