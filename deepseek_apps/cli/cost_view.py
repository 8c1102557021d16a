"""How `deepseek-apps cost` shows sums: cells of tables, bars of a chart, JSON and CSV. Prints nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from deepseek_apps.cli.figures import Bar

if TYPE_CHECKING:
    from deepseek_apps.routing.spending import Spending

__all__ = ["COLUMNS", "amount", "as_csv", "as_json", "day_bars", "notes", "table_row"]

COLUMNS = ("calls", "prompt", "cached", "answer", "cost", "saved by cache", "saved by hour")
SIGNS = {"USD": "$", "CNY": "¥"}
FIELDS = (
    "calls",
    "failed",
    "prompt",
    "hit",
    "output",
    "reasoning",
    "cost",
    "saved_by_cache",
    "saved_off_peak",
    "estimated",
    "unpriced",
)


def amount(value: Decimal, currency: str) -> str:
    """Return money for people: cents, and smaller amounts to three digits that say something."""
    if value == 0 or abs(value) >= 1:
        return f"{SIGNS[currency]}{value:,.2f}"
    # adjusted() is the place of the first digit: -1 for tenths.
    places = max(2, min(9, 2 - value.adjusted()))
    return f"{SIGNS[currency]}{value:.{places}f}"


def table_row(row: Spending, currency: str) -> tuple[str, ...]:
    """Return the cells of a group, in the order of COLUMNS."""
    share = row.hit_share
    return (
        f"{row.calls:,}",
        f"{row.prompt:,}",
        "-" if share is None else f"{100 * share:.0f} %",
        f"{row.output:,}",
        amount(row.cost, currency),
        amount(row.saved_by_cache, currency),
        amount(row.saved_off_peak, currency),
    )


def day_bars(rows: Sequence[Spending], currency: str, first: date, last: date) -> list[Bar]:
    """Return the chart's bars: one for every day, the idle ones included."""
    by_day = {row.key: row.cost for row in rows}
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    costs = [by_day.get(day.isoformat(), Decimal(0)) for day in days]
    return [
        (f"{day:%m-%d %a}", float(cost), amount(cost, currency))
        for day, cost in zip(days, costs, strict=True)
    ]


def notes(total: Spending) -> list[str]:
    """Return what has to be said about sums: what is missing in them, and what is guessed."""
    remarks = []
    if total.failed:
        remarks.append(f"{total.failed} of these calls brought no complete answer")
    if total.estimated:
        remarks.append(
            f"{total.estimated} of these calls broke off, or fell into a year without known"
            " holidays: their tokens or prices are estimates"
        )
    if total.unpriced:
        remarks.append(
            f"{total.unpriced} of these calls have no known price and are not in the sum; a"
            " [[prices]] row in catalog.toml gives one"
        )
    return remarks


def as_json(row: Spending, currency: str) -> dict[str, Any]:
    """Return a group as JSON has it; amounts stay text, so that no digit is lost."""
    fields = {name: getattr(row, name) for name in FIELDS}
    texts = {name: f"{value:f}" for name, value in fields.items() if isinstance(value, Decimal)}
    return {"key": row.key, **fields, **texts, "currency": currency}


def as_csv(rows: Sequence[Spending], by: str, currency: str) -> str:
    """Return the groups as CSV with a header, without the last line end."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((by, *FIELDS, "currency"))
    for row in rows:
        cells = as_json(row, currency)
        writer.writerow((row.key, *(cells[name] for name in FIELDS), currency))
    return text.getvalue().rstrip("\n")
