"""What can go wrong in the recipe, for callers to catch."""

from __future__ import annotations

from deepseek_apps.errors import DeepSeekAppsError

__all__ = ["SandboxUnavailableError", "UnsafePathError"]


class SandboxUnavailableError(DeepSeekAppsError):
    """This host cannot run the sandbox; nothing was run."""


class UnsafePathError(DeepSeekAppsError):
    """A path that leaves the workspace, or passes through a link, was refused."""
