"""Where models and their derived files live on this machine; computes paths, creates nothing.

<cache_dir>/models/<id>/<file>         a pulled model, `<file>.part` while it is being pulled
<cache_dir>/models/<id>.lock           held by the process that pulls or removes it
<cache_dir>/packed/<sha256>-…/         weights repacked for the engine, keyed by their source
<cache_dir>/prefixes/<model key>/       computed prefixes of prompts (prefix_files.py)
<cache_dir>/hashes/<key>.json          SHA-256 of files and folders outside the store
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = [
    "CACHE_DIR_VARIABLE",
    "cache_dir",
    "hashes_dir",
    "lock_path",
    "models_dir",
    "packed_dir",
    "prefixes_dir",
]

CACHE_DIR_VARIABLE = "DEEPSEEK_APPS_CACHE_DIR"


def cache_dir() -> Path:
    """Return the root of everything we keep on disk.

    The environment variable DEEPSEEK_APPS_CACHE_DIR wins over the platform's user cache directory.
    """
    override = os.environ.get(CACHE_DIR_VARIABLE)
    if override:
        return Path(override).expanduser().absolute()
    return platformdirs.user_cache_path("deepseek-apps")


def models_dir() -> Path:
    """Return the directory that holds one sub-directory per pulled model."""
    return cache_dir() / "models"


def packed_dir() -> Path:
    """Return the directory of repacked weights; entries are named `<sha256 of the source>-…`."""
    return cache_dir() / "packed"


def prefixes_dir() -> Path:
    """Return the directory of cached prefixes, one sub-directory per model and way of keeping its cache."""
    return cache_dir() / "prefixes"


def hashes_dir() -> Path:
    """Return the directory of remembered hashes of files and folders that are not ours."""
    return cache_dir() / "hashes"


def lock_path(model_id: str) -> Path:
    """Return the lock file of one model; it stays outside the model's directory so removal is safe."""
    return models_dir() / f"{model_id}.lock"
