"""Peak hours: whether an instant is in one, and when the price changes next. Pure functions of an instant."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from deepseek_apps.catalog.pricing import check_aware, is_holiday, local_zone, peak_hours

__all__ = ["is_peak", "is_peak_certain", "next_change", "next_off_peak"]

# Longer than any stretch without a peak hour: eight days off work and the weekends around them.
LONGEST_PAUSE_DAYS = 30


def is_peak(at: datetime) -> bool:
    """Whether DeepSeek's peak price holds: Beijing 09:00-12:00 and 14:00-18:00, Monday to Friday.

    Public holidays have no peak hours. A weekday of a year whose holidays are not known counts as a working
    day; see `is_peak_certain`.

    Args:
        at: The instant, with a time zone.

    Raises:
        SettingsError: `at` has no time zone.
    """
    return _could_be_peak(at) and not is_holiday(_local(at).date())


def is_peak_certain(at: datetime) -> bool:
    """Whether `is_peak` knows for sure: the hour is never one, or the holidays of its year are known."""
    return not _could_be_peak(at) or is_holiday(_local(at).date()) is not None


def next_off_peak(at: datetime) -> datetime:
    """Return the first instant from `at` on that is not in a peak hour; `at` itself if it is in none.

    The result has the time zone of `at`.
    """
    return next_change(at) if is_peak(at) else at


def next_change(at: datetime) -> datetime:
    """Return the first instant after `at` at which peak hours begin or end, in the time zone of `at`."""
    now = is_peak(at)
    local = _local(at)
    for day in range(LONGEST_PAUSE_DAYS):
        midnight = datetime.combine(local.date() + timedelta(days=day), time.min, local.tzinfo)
        for hour in sorted({hour for stretch in peak_hours().hours for hour in stretch}):
            moment = midnight + timedelta(hours=hour)
            if moment > local and is_peak(moment) != now:
                return moment.astimezone(at.tzinfo)
    raise AssertionError(f"no peak hour begins or ends within {LONGEST_PAUSE_DAYS} days of {at}")


def _could_be_peak(at: datetime) -> bool:
    local, rule = _local(at), peak_hours()
    hour = local.hour
    return local.weekday() in rule.weekdays and any(first <= hour < end for first, end in rule.hours)


def _local(at: datetime) -> datetime:
    return check_aware(at).astimezone(local_zone())
