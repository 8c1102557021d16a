"""`deepseek-apps cost prices`: what each model costs now, and when that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deepseek_apps.cli.options import JsonOption

if TYPE_CHECKING:
    from datetime import datetime

    from deepseek_apps.catalog import Price, Prices

__all__ = ["CurrencyOption", "prices"]

CurrencyOption = Annotated[
    Literal["USD", "CNY"] | None,
    typer.Option("--currency", help="USD or CNY.", show_default="the setting, else USD"),
]


def prices(currency: CurrencyOption = None, as_json: JsonOption = False) -> None:
    """Show the prices per million tokens in force now, the period, and when it changes."""
    from datetime import UTC, datetime  # noqa: PLC0415  lazy: --help needs none of it

    from deepseek_apps.catalog import prices as prices_at  # noqa: PLC0415
    from deepseek_apps.cli.render import Output  # noqa: PLC0415
    from deepseek_apps.cost import is_peak, next_change  # noqa: PLC0415
    from deepseek_apps.settings import load_settings  # noqa: PLC0415

    out = Output()
    now = datetime.now(UTC)
    chosen = currency or load_settings().currency
    rows = [row for row in prices_at(now) if row.currency == chosen]
    peak, change = is_peak(now), next_change(now)
    if as_json:
        out.json(_as_json(rows, chosen, peak=peak, change=change))
        return
    columns = ("model", "period", "cached prompt", "other prompt", "answer")
    out.table(columns, [cells for row in rows for cells in _cells(row, peak=peak)])
    now_is, then_is = ("peak", "off-peak") if peak else ("off-peak", "peak")
    local = change.astimezone()
    out.note(f"{chosen} per million tokens; {now_is} until {local:%a %Y-%m-%d %H:%M %Z}, then {then_is}")


def _cells(row: Prices, *, peak: bool) -> list[tuple[str, ...]]:
    """Return a line for each period, that of now first."""
    if row.peak is None:
        return [(row.model, "always", *_amounts(row.off_peak))]
    now, then = (row.peak, row.off_peak) if peak else (row.off_peak, row.peak)
    names = ("peak", "off-peak") if peak else ("off-peak", "peak")
    return [(row.model, f"{names[0]}, now", *_amounts(now)), ("", names[1], *_amounts(then))]


def _amounts(price: Price) -> tuple[str, str, str]:
    hit, miss, output = (f"{value.normalize():f}" for value in (price.hit, price.miss, price.output))
    return hit, miss, output


def _as_json(rows: list[Prices], currency: str, *, peak: bool, change: datetime) -> dict[str, Any]:
    return {
        "currency": currency,
        "period": "peak" if peak else "off-peak",
        "changes_at": change.isoformat(),
        "models": [
            {
                "model": row.model,
                "backend": row.backend,
                "off_peak": _price_json(row.off_peak),
                "peak": _price_json(row.peak or row.off_peak),
                "date": row.date.isoformat(),
                "source": row.source,
            }
            for row in rows
        ],
    }


def _price_json(price: Price) -> dict[str, str]:
    return dict(zip(("hit", "miss", "output"), _amounts(price), strict=True))
