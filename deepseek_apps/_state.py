"""Where this program keeps what it remembers: the chat history and the ledger of calls."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["state_dir"]


def state_dir() -> Path:
    """Return where state is kept: DEEPSEEK_APPS_STATE_DIR, else the platform's user state directory."""
    if override := os.environ.get("DEEPSEEK_APPS_STATE_DIR"):
        return Path(override).expanduser()
    from platformdirs import user_state_path  # noqa: PLC0415  lazy: not needed by --help

    return user_state_path("deepseek-apps", appauthor=False)
