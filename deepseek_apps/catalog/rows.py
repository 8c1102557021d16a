"""The rows that the catalogue's files are made of: frozen, checked while they are read, unknown keys refused.

Money is Decimal throughout: prices are exact in their files and stay so.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field

__all__ = [
    "FIRST_INSTANT",
    "Currency",
    "HostedModel",
    "Limit",
    "ModelAlias",
    "PeakHours",
    "Price",
    "Prices",
    "RetiredName",
    "YearOfHolidays",
]

Currency: TypeAlias = Literal["USD", "CNY"]
FIRST_INSTANT = dt.datetime.min.replace(tzinfo=dt.UTC)
STRICT: ConfigDict = {"extra": "forbid"}
Amount: TypeAlias = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Instant: TypeAlias = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(dt.UTC))]
Name: TypeAlias = Annotated[str, Field(min_length=1)]
Count: TypeAlias = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """A model of DeepSeek's API.

    Attributes:
        id: Name on the wire.
        checkpoint: The published weights behind it.
        context: Longest prompt plus answer, in tokens.
        max_output: Largest max_tokens.
        thinking: Whether it can think before it answers.
        images: Whether it sees images; where not, the API drops them silently.
        date: When these facts were read, from `source`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    id: Name
    checkpoint: str = ""
    context: Count
    max_output: Count
    thinking: bool = False
    images: bool = False
    date: dt.date
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAlias:
    """Another name that the API takes for a model."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Name
    model: Name
    date: dt.date
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredName:
    """A model name that is never sent, and what says the same today."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Name
    model: Name
    thinking: Literal["enabled", "disabled"]
    date: dt.date
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Per million tokens: prompt tokens found in the cache, not found, and generated."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    hit: Amount
    miss: Amount
    output: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What one model costs in one currency, in and out of peak hours, from one instant on.

    Attributes:
        model: Hosted model id, or the name of a server's model.
        off_peak: Price outside peak hours.
        peak: Price in peak hours; None where the hour makes no difference.
        since: First instant at which it holds, UTC.
        until: First instant at which it no longer does; None until the next row takes over.
        backend: Who is paid: DeepSeek, or a server of your own.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    model: Name
    currency: Currency
    off_peak: Price
    peak: Price | None = None
    since: Instant = FIRST_INSTANT
    until: Instant | None = None
    backend: Literal["hosted", "server"] = "hosted"
    date: dt.date
    source: str

    def holds_at(self, at: dt.datetime) -> bool:
        """Whether the row's own limits include this instant; a later row may still take precedence."""
        return self.since <= at and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakHours:
    """When the peak price holds, in local time of one place without daylight saving.

    Attributes:
        utc_offset_hours: The place's distance from UTC.
        weekdays: 0 is Monday.
        hours: First hour, and the first after it, of each stretch of a day.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    utc_offset_hours: int
    weekdays: tuple[Annotated[int, Field(ge=0, le=6)], ...]
    hours: tuple[tuple[Annotated[int, Field(ge=0, le=24)], Annotated[int, Field(ge=0, le=24)]], ...]
    date: dt.date
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class YearOfHolidays:
    """The days off work of one year, as first and last day of each stretch."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    year: int
    days: tuple[tuple[dt.date, dt.date], ...]
    date: dt.date
    source: str

    def includes(self, day: dt.date) -> bool:
        """Whether a day is off work."""
        return any(first <= day <= last for first, last in self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A number that the API holds to, and what it counts."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Name
    value: Count
    unit: str
    model: str = ""
    date: dt.date
    source: str
