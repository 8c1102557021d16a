"""`deepseek-apps cost`: what calls took and cost, and what is charged at which hour."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deepseek_apps.cli.estimate import estimate
from deepseek_apps.cli.options import JsonOption
from deepseek_apps.cli.prices import CurrencyOption, prices

__all__ = ["app"]

app = typer.Typer(
    help="Show what calls took and cost: without options today, the last 7 and the last 30 days."
)
app.command()(estimate)
app.command()(prices)


@app.callback(invoke_without_command=True)
def cost(
    context: typer.Context,
    *,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="First day: a date such as 2026-11-01, or 7d for a week ago.",
            show_default="29 days before the last",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Last day, as for --since.", show_default="today")
    ] = None,
    by: Annotated[
        Literal["day", "model", "backend", "recipe", "run"] | None,
        typer.Option("--by", help="What to add up on one line each.", show_default="day"),
    ] = None,
    currency: CurrencyOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one line of CSV for each group.")] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from deepseek_apps.cli.cost_report import CostReport  # noqa: PLC0415  lazy: --help needs none of it
    from deepseek_apps.cli.render import Output  # noqa: PLC0415

    report = CostReport.read(since=since, until=until, by=by, currency=currency)
    report.print(Output(), form="json" if as_json else "csv" if as_csv else "table")
