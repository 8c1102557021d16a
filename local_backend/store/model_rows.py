"""Facts about the models we can fetch: rows of models.toml as frozen values."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

from local_backend.errors import UnknownModelError
from local_backend.sampling_params import SamplingDefaults

__all__ = ["MirrorRow", "ModelRow", "catalogue", "find"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorRow:
    """Where slices of a model's file are published as Python wheels.

    Attributes:
        package: Name pattern of the packages, with `{part}` for 1 … parts.
        version: The one version that holds these bytes.
        parts: Number of packages.
        slice_bytes: Length of every slice but the last.
    """

    package: str
    version: str
    parts: int
    slice_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model of the catalogue: a single file, known to the byte.

    Attributes:
        id: Name used on the command line and on the wire.
        filename: Name of the file, on the hub and on disk.
        bytes: Exact size of the file.
        sha256: Hex digest of the file.
        context: Longest prompt plus completion, in tokens.
        sampling: What the publisher's generation_config.json recommends.
        date: When these facts were read, from `source`.
    """

    id: str
    title: str
    filename: str
    bytes: int
    sha256: str
    quantization: str
    context: int
    languages: tuple[str, ...]
    licence: str
    hub_repo: str
    date: date
    source: str
    mirror: MirrorRow | None = None
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)


@cache
def catalogue() -> tuple[ModelRow, ...]:
    """Return every known model, the default one first."""
    text = resources.files("local_backend.store").joinpath("models.toml").read_text(encoding="utf-8")
    return tuple(_parse_row(entry) for entry in tomllib.loads(text)["models"])


def find(name: str) -> ModelRow:
    """Return the catalogue row called name.

    Raises:
        UnknownModelError: There is none; close names are suggested.
    """
    rows = {row.id: row for row in catalogue()}
    if name in rows:
        return rows[name]
    close = difflib.get_close_matches(name, rows, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise UnknownModelError(
        f"unknown model {name!r}",
        help_message=f"{hint}Known models: {', '.join(rows)}; or give the path of a .gguf file or of a "
        "folder with config.json.",
    )


def _parse_row(entry: dict[str, Any]) -> ModelRow:
    mirror = entry.get("mirror")
    fields = entry | {
        "languages": tuple(entry["languages"]),
        "mirror": None if mirror is None else MirrorRow(**mirror),
        "sampling": SamplingDefaults(**entry.get("sampling", {})),
    }
    return ModelRow(**fields)
