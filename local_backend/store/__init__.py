"""Models on disk: the catalogue and what is installed. Fetching (httpx2, pip) is in `store.pull`."""

from __future__ import annotations

from local_backend.store.catalog import (
    InstalledModel,
    ModelRow,
    catalogue,
    find,
    installed,
    remove,
    resolve_model,
)
from local_backend.store.paths import cache_dir, models_dir, packed_dir
from local_backend.store.source_hash import source_hash

__all__ = [
    "InstalledModel",
    "ModelRow",
    "cache_dir",
    "catalogue",
    "find",
    "installed",
    "models_dir",
    "packed_dir",
    "remove",
    "resolve_model",
    "source_hash",
]
