"""Errors of a batch: its input, its output file, and requests that found no answer.

What a backend says while a batch runs is a BackendError, as everywhere.
"""

from __future__ import annotations

from deepseek_apps.errors import DeepSeekAppsError, SettingsError

__all__ = ["BatchIncompleteError", "BatchInputError", "BatchOutputError"]


class BatchInputError(SettingsError):
    """The input file has lines that cannot be sent, or is not the one this output belongs to."""


class BatchOutputError(SettingsError):
    """The output file is not this batch's, is in use by another process, or cannot be written."""


class BatchIncompleteError(DeepSeekAppsError):
    """The batch came to its end, and some of its requests have no answer."""
