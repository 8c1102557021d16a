"""Reads the catalogue's own TOML files and the user's catalog.toml over them, row by row.

What a row means is in rows.py; which rows take precedence is decided here and nowhere else.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from deepseek_apps.errors import SettingsError

__all__ = ["Tables", "Version", "own_file", "parse_rows", "user_file", "user_tables", "user_version"]

Row: TypeAlias = Mapping[str, Any]
Tables: TypeAlias = Mapping[str, tuple[Row, ...]]
# Where the user's file is, and what tells one state of it from another; None where there is none.
Version: TypeAlias = tuple[Path, int, int] | None
T = TypeVar("T")
KINDS = ("aliases", "holidays", "limits", "models", "prices", "retired")


# Variables that say where the user's rows are, this one first.
PLACES = ("DEEPSEEK_APPS_CATALOG", "DEEPSEEK_APPS_CONFIG", "XDG_CONFIG_HOME", "HOME", "APPDATA")


@cache
def own_file(filename: str) -> Mapping[str, Any]:
    """Return the content of one of the package's files; read once."""
    text = resources.files(__package__).joinpath(filename).read_text(encoding="utf-8")
    return tomllib.loads(text, parse_float=Decimal)


def user_file() -> Path:
    """Return where the user's rows are, whether or not there are any; DEEPSEEK_APPS_CATALOG overrides it."""
    return _user_file(*map(os.environ.get, PLACES))


@cache
def _user_file(*places: str | None) -> Path:
    """Find the file again only when one of `PLACES` has changed: a call asks six times where it is."""
    if places[0]:
        return Path(places[0]).expanduser()
    from deepseek_apps.settings import config_path  # noqa: PLC0415  lazy: it costs 0.1 s

    return config_path().with_name("catalog.toml")


def user_version() -> Version:
    """Return which state of the user's file is on disk.

    Raises:
        SettingsError: DEEPSEEK_APPS_CATALOG names a file that cannot be read.
    """
    path = user_file()
    try:
        status = path.stat()
    except OSError as error:
        if os.environ.get("DEEPSEEK_APPS_CATALOG"):
            raise _unreadable(path, error) from error
        return None
    return path, status.st_mtime_ns, status.st_size


@cache
def user_tables(version: Version) -> Tables:
    """Return the user's rows by kind; each knows that it came from that file.

    Raises:
        SettingsError: The file is not TOML, or has a table that no row belongs to.
    """
    if version is None:
        return {}
    path, modified, _ = version
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    noted = {"date": date.fromtimestamp(modified / 1e9), "source": str(path)}
    return {kind: tuple(noted | row for row in _rows(path, kind, rows)) for kind, rows in tables.items()}


def _rows(path: Path, kind: str, rows: object) -> list[dict[str, Any]]:
    if kind not in KINDS:
        raise SettingsError(
            f"{path} has a table {kind!r} that means nothing", help_message=f"Known: {', '.join(KINDS)}."
        )
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise SettingsError(f"{path}: {kind!r} is no list of tables", help_message=f"Write [[{kind}]].")
    return rows


def parse_rows(kind: type[T], name: str, rows: Iterable[Row], origin: str) -> list[T]:
    """Turn tables into rows of one kind.

    Args:
        kind: Class of the rows.
        name: What the table is called.
        rows: The tables.
        origin: File that they are in, for the error.

    Raises:
        SettingsError: A row lacks something, has something unknown, or a value that cannot be.
    """
    adapter = TypeAdapter(kind)
    parsed = []
    for number, row in enumerate(rows, 1):
        try:
            parsed.append(adapter.validate_python(row))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            shown = ", ".join(
                f"{key}={value!s}" for key, value in row.items() if key not in {"date", "source"}
            )
            raise SettingsError(
                f"{origin}, row {number} of [[{name}]] ({shown}): {where}: {problem['msg']}",
                help_message=f"Change {where} in that row.",
            ) from None
    return parsed


def _unreadable(path: Path, error: Exception) -> SettingsError:
    return SettingsError(
        f"cannot read the catalogue {path}: {error}",
        help_message="Fix the file, or point DEEPSEEK_APPS_CATALOG at another.",
    )
