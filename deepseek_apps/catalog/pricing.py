"""Which price holds when: rows of prices.toml, the user's rows over them, peak hours and public holidays.

Pure functions of an instant; the wall clock is asked only where the caller gives none.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache

from deepseek_apps.catalog._files import Version, own_file, parse_rows, user_tables, user_version
from deepseek_apps.catalog.catalog import catalogue
from deepseek_apps.catalog.rows import Currency, PeakHours, Prices, YearOfHolidays
from deepseek_apps.errors import SettingsError

__all__ = ["check_aware", "is_holiday", "local_zone", "peak_hours", "price_history", "price_of", "prices"]

LAST_INSTANT = datetime.max.replace(tzinfo=UTC)


def prices(at: datetime | None = None) -> tuple[Prices, ...]:
    """Return what each model costs in each currency at one instant; None is now.

    Raises:
        SettingsError: The user's catalog.toml cannot be used, or `at` has no time zone.
    """
    now = datetime.now(UTC) if at is None else check_aware(at)
    rows = price_history()
    keys = dict.fromkeys((row.backend, row.model, row.currency) for row in rows)
    found = (_in_force(rows, *key, now) for key in keys)
    return tuple(row for row in found if row is not None)


def price_history() -> tuple[Prices, ...]:
    """Return every row, oldest first for each model and currency."""
    return _history(user_version())


def price_of(
    model: str, at: datetime, *, currency: Currency = "USD", backend: str | None = None
) -> Prices | None:
    """Return the row that holds for a model; None if its price is not known.

    Args:
        model: Any name of the model, today's or retired.
        at: The instant, with a time zone.
        currency: USD or CNY.
        backend: hosted or server; None takes DeepSeek's price, else that of a server's model.
    """
    rows, instant = price_history(), check_aware(at)
    for payee in ("hosted", "server") if backend is None else (backend,):
        name = catalogue().model_behind(model) if payee == "hosted" else model
        if row := _in_force(rows, payee, name, currency, instant):
            return row
    return None


@cache
def peak_hours() -> PeakHours:
    """Return when the peak price holds."""
    return parse_rows(PeakHours, "peak", [own_file("prices.toml")["peak"]], "prices.toml")[0]


def is_holiday(day: date) -> bool | None:
    """Whether a day is off work in China; None if the holidays of its year are not in the catalogue."""
    year = _holidays(user_version()).get(day.year)
    return None if year is None else year.includes(day)


def check_aware(at: datetime) -> datetime:
    """Return an instant in UTC.

    Raises:
        SettingsError: It has no time zone, so that it could be any of 26 instants.
    """
    if at.tzinfo is None:
        raise SettingsError(f"{at!r} has no time zone", help_message="Use datetime.now(datetime.UTC).")
    return at.astimezone(UTC)


def local_zone() -> timezone:
    """Return the time zone that peak hours are counted in."""
    return timezone(timedelta(hours=peak_hours().utc_offset_hours))


def _in_force(
    rows: tuple[Prices, ...], backend: str, model: str, currency: str, at: datetime
) -> Prices | None:
    latest = None
    for row in rows:
        same = row.model == model and row.currency == currency and row.backend == backend
        if same and row.since <= at:
            latest = row
    return latest if latest is not None and latest.holds_at(at) else None


@cache
def _history(version: Version) -> tuple[Prices, ...]:
    own = parse_rows(Prices, "prices", own_file("prices.toml")["prices"], "prices.toml")
    if version is None:
        return tuple(sorted(own, key=lambda row: row.since))
    hosted = catalogue().is_hosted_name
    given = (
        {"backend": "hosted" if hosted(str(row.get("model"))) else "server", **row}
        for row in user_tables(version).get("prices", ())
    )
    mine = parse_rows(Prices, "prices", given, str(version[0]))
    # The user's word counts from its first instant on, so rows of ours that begin later would contradict it.
    first: dict[tuple[str, str], datetime] = {}
    for row in mine:
        key = (row.model, row.currency)
        first[key] = min(row.since, first.get(key, row.since))
    kept = [
        row
        for row in own
        if row.since < first.get((row.model, row.currency), datetime.max.replace(tzinfo=UTC))
    ]
    return tuple(sorted((*kept, *mine), key=lambda row: row.since))


@cache
def _holidays(version: Version) -> dict[int, YearOfHolidays]:
    own = parse_rows(YearOfHolidays, "holidays", own_file("holidays.toml")["holidays"], "holidays.toml")
    given = user_tables(version).get("holidays", ())
    mine = parse_rows(YearOfHolidays, "holidays", given, str(version[0]) if version else "")
    return {row.year: row for row in (*own, *mine)}
