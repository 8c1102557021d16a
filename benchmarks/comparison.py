"""Two sides beside each other: medians with spread, ratio, bar and ceiling, and how each side was run.

The ratio of a row is the median of the ratios taken round by round, because both sides of one round saw the
same machine. Bars are shown, not enforced.
"""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from report import machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of work, measured in rounds.

    Attributes:
        work: What was done.
        ours: Our number of every round.
        peer: The peer's, round by round; empty when it was not measured.
        unit: Of both; what ends in "/s" is better when larger, the rest when smaller.
        bar: Ratio to reach (rates) or number to keep below (the rest); None when there is none.
        ceiling: What the hardware allows, round by round; empty when it is unknown.
        note: Anything a reader needs to judge the numbers.
    """

    work: str
    ours: Sequence[float]
    peer: Sequence[float] = ()
    unit: str = "tok/s"
    bar: float | None = None
    ceiling: Sequence[float] = ()
    note: str = ""

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit.endswith("/s")

    @property
    def ratio(self) -> float | None:
        """Our number over the peer's, median over the rounds; None without a peer."""
        return _median_ratio(self.ours, self.peer) if self.peer else None

    @property
    def share(self) -> float | None:
        """Share of the ceiling, median over the rounds."""
        return _median_ratio(self.ours, self.ceiling) if self.ceiling else None

    @property
    def verdict(self) -> str:
        """Whether the bar is kept; empty without one, or without the peer it is held against."""
        measured = self.ratio if self.is_rate else statistics.median(self.ours)
        if self.bar is None or measured is None:
            return ""
        kept = measured >= self.bar if self.is_rate else measured <= self.bar
        sign, unit = (">=", "x") if self.is_rate else ("<=", f" {self.unit}")
        return f"{sign} {self.bar:g}{unit} {'ok' if kept else 'MISSED'}"

    def as_json(self) -> dict[str, object]:
        """Return the row with all its rounds."""
        return {
            "work": self.work,
            "unit": self.unit,
            "ours": list(self.ours),
            "peer": list(self.peer),
            "ceiling": list(self.ceiling),
            "ratio": self.ratio,
            "share_of_ceiling": self.share,
            "bar": self.bar,
            "verdict": self.verdict,
            "note": self.note,
        }

    def cells(self) -> list[str]:
        """Return the row as it is printed."""
        share = "" if self.share is None else f"{self.share:.0%} of {statistics.median(self.ceiling):.1f}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}x"
        return [
            self.work,
            spread(self.ours, self.unit),
            spread(self.peer, self.unit) if self.peer else "",
            ratio,
            self.verdict,
            share,
            self.note,
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How one side was run.

    Attributes:
        name: "ours", or the peer's name.
        command: Of the measured process.
        about: Facts in words, such as bits per weight.
    """

    name: str
    command: Sequence[str]
    about: Mapping[str, str] = field(default_factory=dict)


def print_comparison(
    title: str,
    sides: Sequence[Side],
    rows: Sequence[Row],
    *,
    threads: int,
    warm_up: str,
    as_json: bool,
    details: Mapping[str, object] | None = None,
) -> None:
    """Print the machine, both sides' commands and the rows.

    Args:
        title: What was compared.
        sides: Ours first.
        rows: Printed in this order.
        threads: Of each side.
        warm_up: What ran before anything counted.
        as_json: One JSON object instead of a Markdown table.
        details: More that programs may want; only in the JSON.
    """
    about = machine()
    if as_json:
        report: dict[str, object] = {"benchmark": title, "machine": about, "threads": threads}
        report |= {"warm_up": warm_up, "rows": [row.as_json() for row in rows]}
        report["sides"] = [
            {"name": side.name, "command": shlex.join(side.command), **side.about} for side in sides
        ]
        print(json.dumps(report | dict(details or {})))
        return
    print(f"{title} on {about['cpu']}, {about['cores']} cores, {threads} threads on each side")
    print(f"load average before: {about['load_average']}; warm-up: {warm_up}")
    for side in sides:
        facts = "; ".join(f"{name}: {value}" for name, value in side.about.items())
        print(f"{side.name}: {shlex.join(side.command)}" + (f"\n    {facts}" if facts else ""))
    peer = sides[1].name if len(sides) > 1 else "peer"
    _print_table(["", "ours", peer, "ratio", "bar", "ceiling", "note"], [row.cells() for row in rows])


def spread(values: Sequence[float], unit: str) -> str:
    """Median, and the range when there is one."""
    middle = f"{number(statistics.median(values))} {unit}".rstrip()
    if len(values) == 1:
        return middle
    return f"{middle} ({number(min(values))} - {number(max(values))})"


def number(value: float) -> str:
    """Three digits, without exponents."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(a / b if b else 0.0 for a, b in zip(ours, theirs, strict=True))


def _print_table(head: list[str], rows: list[list[str]]) -> None:
    used = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    table = [[row[i] for i in used] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(used))]
    table.insert(1, ["-" * width for width in widths])
    print()
    for row in table:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
