"""What `deepseek-apps cost` reports: which days, which sums, and in which form. Reads the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal, Self

from deepseek_apps.cli import cost_view
from deepseek_apps.cli.failure import UsageError
from deepseek_apps.cli.figures import bar_lines
from deepseek_apps.routing.ledger import Ledger, ledger_path
from deepseek_apps.routing.spending import Grouping, Spending, spending_between, spending_by
from deepseek_apps.settings import load_settings

if TYPE_CHECKING:
    from deepseek_apps.catalog import Currency
    from deepseek_apps.cli.render import Output

__all__ = ["CostReport", "parse_day"]

DEFAULT_DAYS = 30
# More bars than this are a wall, not a chart.
LONGEST_CHART = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """Sums over some days.

    Attributes:
        first, last: The days, both included.
        by: What `rows` are.
        rows: Sums of each group.
        total: Sum of all.
        spans: Sums up to the last day, of one, seven and thirty days; empty where days were asked for.
        currency: What amounts are in.
    """

    first: date
    last: date
    by: Grouping
    rows: list[Spending]
    total: Spending
    currency: Currency
    spans: list[Spending] = field(default_factory=list)

    @classmethod
    def read(
        cls, *, since: str | None, until: str | None, by: Grouping | None, currency: Currency | None
    ) -> Self:
        """Read the ledger as the command line asks.

        Raises:
            UsageError: A day cannot be read, or the last is before the first.
            LedgerError: The ledger cannot be read.
        """
        today = datetime.now().astimezone().date()
        last = parse_day(until, today, "--until") if until else today
        first = parse_day(since, today, "--since") if since else last - timedelta(days=DEFAULT_DAYS - 1)
        if last < first:
            raise UsageError(f"--until {last} is before --since {first}", help_message="Exchange them.")
        chosen = currency or load_settings().currency
        # Nothing was ever recorded: do not make a file only to say so.
        if not ledger_path().exists():
            nothing = Spending(key="total")
            return cls(first=first, last=last, by=by or "day", rows=[], total=nothing, currency=chosen)
        end = _midnight(last + timedelta(days=1))
        with Ledger() as ledger:
            rows = spending_by(ledger, by or "day", _midnight(first), end, currency=chosen)
            total = spending_between(ledger, _midnight(first), end, currency=chosen, key="total")
            spans = [] if since or until or by else _spans(ledger, last, chosen)
        return cls(
            first=first, last=last, by=by or "day", rows=rows, total=total, currency=chosen, spans=spans
        )

    def print(self, out: Output, *, form: Literal["table", "json", "csv"]) -> None:
        """Print the report: sums on stdout, what is missing in them on stderr."""
        if form == "json":
            out.json(self._as_json())
        elif form == "csv":
            out.text(cost_view.as_csv(self.rows, self.by, self.currency))
        elif self.total.calls:
            self._print_tables(out)
        else:
            out.note(f"no calls are recorded from {self.first} to {self.last}")
        for remark in cost_view.notes(self.total):
            out.note(remark)

    def _as_json(self) -> dict[str, object]:
        groups = {"spans": self.spans} if self.spans else {}
        return {
            "since": self.first.isoformat(),
            "until": self.last.isoformat(),
            "by": self.by,
            "currency": self.currency,
            "total": cost_view.as_json(self.total, self.currency),
            **{
                name: [cost_view.as_json(row, self.currency) for row in rows] for name, rows in groups.items()
            },
            "rows": [cost_view.as_json(row, self.currency) for row in self.rows],
        }

    def _print_tables(self, out: Output) -> None:
        rows = self.spans or [*self.rows, self.total]
        heading = "" if self.spans else self.by
        cells = ((row.key or "-", *cost_view.table_row(row, self.currency)) for row in rows)
        out.table((heading, *cost_view.COLUMNS), cells)
        if self.by == "day" and self.total.cost > 0:
            self._print_chart(out)

    def _print_chart(self, out: Output) -> None:
        """Draw a bar for each day since the first call: at least a week, at most a quarter."""
        begun = date.fromisoformat(self.rows[0].key)
        week = self.last - timedelta(days=6)
        start = max(self.first, min(begun, week), self.last - timedelta(days=LONGEST_CHART - 1))
        bars = cost_view.day_bars(self.rows, self.currency, start, self.last)
        out.heading("Spent each day")
        lines = bar_lines(bars, width=out.width, blocks=out.has_blocks)
        for (_, spent, text), line in zip(bars, lines, strict=True):
            # The shortest bar is for something, not for nothing.
            out.text(line if spent else line[: line.rindex(text) + len(text)])


def parse_day(text: str, today: date, option: str) -> date:
    """Return the day that an option means: a date, today, or days ago such as 7d.

    Raises:
        UsageError: It means none.
    """
    if text == "today":
        return today
    try:
        if ago := re.fullmatch(r"(\d+)d", text):
            return today - timedelta(days=int(ago[1]))
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r} is no day",
            help_message="Give a date such as 2026-11-01, or 7d for a week ago.",
        ) from None


def _spans(ledger: Ledger, last: date, currency: Currency) -> list[Spending]:
    end = _midnight(last + timedelta(days=1))
    days = {"today": 1, "last 7 days": 7, "last 30 days": 30}
    return [
        spending_between(ledger, _midnight(last - timedelta(days=n - 1)), end, currency=currency, key=name)
        for name, n in days.items()
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min).astimezone()
