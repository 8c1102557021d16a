"""Errors of the local backend: what went wrong, the offending value, and the next step.

LocalBackendError
  ├─ ConfigError                 an engine or model setting is out of range
  ├─ CheckpointError             a model file cannot be used as it is
  │    ├─ HashMismatchError      the bytes are not the published ones
  │    └─ UnsupportedModelError  the file is sound, its architecture or type is not ours
  ├─ ModelError
  │    ├─ UnknownModelError      no such model in the catalogue, and no such path
  │    └─ ModelNotPulledError    in the catalogue, not on this machine
  ├─ PullError
  │    ├─ NetworkUnavailableError  neither hub nor mirror answered
  │    ├─ DiskSpaceError         not enough room for the file
  │    └─ PullLockedError        another process is pulling the same model
  ├─ PrefixCacheError            prefixes cannot be kept on disk
  ├─ RequestError                this request cannot be served (the caller's to fix)
  │    ├─ RequestTooLongError    prompt and max_tokens exceed the context
  │    └─ UnsupportedParameterError
  ├─ NativeLibraryError          the library of CPU kernels is absent or unusable
  ├─ OutOfBlocksError            the KV cache cannot hold even this one request
  └─ EngineStoppedError          the engine has been closed, or its thread died
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DiskSpaceError",
    "EngineStoppedError",
    "HashMismatchError",
    "LocalBackendError",
    "ModelError",
    "ModelNotPulledError",
    "NativeLibraryError",
    "NetworkUnavailableError",
    "OutOfBlocksError",
    "PrefixCacheError",
    "PullError",
    "PullLockedError",
    "RequestError",
    "RequestTooLongError",
    "UnknownModelError",
    "UnsupportedModelError",
    "UnsupportedParameterError",
]


class LocalBackendError(Exception):
    """Base of every error the local backend raises on purpose.

    Args:
        message: What happened, with the offending value.
        help_message: What the caller can do next; printed on its own line by the CLI.
    """

    def __init__(self, message: str, *, help_message: str = "") -> None:
        super().__init__(message)
        self.help_message = help_message


class ConfigError(LocalBackendError):
    """An engine or model setting is missing or out of range."""


class CheckpointError(LocalBackendError):
    """A model file is missing, truncated or malformed."""


class HashMismatchError(CheckpointError):
    """A file's SHA-256 is not the published one; both are in the message."""


class UnsupportedModelError(CheckpointError):
    """The file is sound but its architecture, tensor type or tokenizer is not supported."""


class ModelError(LocalBackendError):
    """A model name cannot be turned into a file on this machine."""


class UnknownModelError(ModelError):
    """The name is neither in the catalogue nor a path."""


class ModelNotPulledError(ModelError):
    """The model is in the catalogue but has not been pulled yet."""


class PullError(LocalBackendError):
    """A model could not be fetched; nothing half-written is left under its final name."""


class NetworkUnavailableError(PullError):
    """Neither the hub nor the mirror could be reached."""


class DiskSpaceError(PullError):
    """The target directory has too little free space."""


class PullLockedError(PullError):
    """Another process is pulling the same model."""


class PrefixCacheError(LocalBackendError):
    """The directory of cached prefixes cannot be used; the engine runs without."""


class RequestError(LocalBackendError):
    """This request cannot be served; another one can."""


class RequestTooLongError(RequestError):
    """Prompt plus requested completion exceed the model's context."""


class UnsupportedParameterError(RequestError):
    """A sampling parameter is out of range or not supported."""


class NativeLibraryError(LocalBackendError):
    """The native CPU kernels are not built, out of date, damaged, or of no use on this processor."""


class OutOfBlocksError(LocalBackendError):
    """The KV cache is too small for this request even when it runs alone."""


class EngineStoppedError(LocalBackendError):
    """The engine was closed while, or before, the request ran."""
