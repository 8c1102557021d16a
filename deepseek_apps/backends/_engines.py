"""The engines of this process: loaded when first asked for, shared by all clients that ask for the same.

With local.py one of two modules that import local_backend, and only when a request needs it.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from deepseek_apps.settings import CacheDtype, Quantization, Speculation

if TYPE_CHECKING:
    from local_backend.config import EngineConfig
    from local_backend.local_engine import TextEngine
    from local_backend.server.handler import RequestHandler

__all__ = ["Engines", "Notice", "WantedModel"]

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class WantedModel:
    """What a client asks of the engine; equal ones share it.

    Attributes:
        model: Catalogue name or path.
        quantization, cache_dtype: How weights and cache are kept.
        prefix_cache_bytes: Disk for prefixes; None is the engine's default.
        speculation: How tokens are guessed ahead.
    """

    model: str
    quantization: Quantization = "auto"
    cache_dtype: CacheDtype = "auto"
    prefix_cache_bytes: int | None = None
    speculation: Speculation = "auto"

    def engine_config(self) -> EngineConfig:
        """Return what the engine is told."""
        from local_backend.config import EngineConfig  # noqa: PLC0415  lazy: loads torch

        return EngineConfig(
            quantization=self.quantization,
            cache_dtype=self.cache_dtype,
            prefix_cache_bytes=self.prefix_cache_bytes,
            speculation=self.speculation,
        )


class Engines:
    """One engine per process, model file and choice; one handler per default model. Safe from any thread."""

    def __init__(self) -> None:
        self._registered = False
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._loading: dict[WantedModel, threading.Lock] = {}
        self._engines: dict[WantedModel, TextEngine] = {}
        self._handlers: dict[WantedModel, RequestHandler] = {}

    def handler(self, wanted: WantedModel, notice: Notice | None = None) -> RequestHandler:
        """Return the handler whose default is this model; it also serves the catalogue's others by name.

        Who asks first is told of the models that it loads.
        """
        with self._lock:
            if wanted not in self._handlers:
                self._handlers[wanted] = self._new_handler(wanted, notice)
            return self._handlers[wanted]

    def close(self) -> None:
        """Stop all engines; a later request loads anew."""
        with self._lock:
            engines = list(self._engines.values())
            self._engines.clear()
            self._handlers.clear()
        for engine in engines:
            engine.close()

    def _new_handler(self, wanted: WantedModel, notice: Notice | None) -> RequestHandler:
        from local_backend.local_engine import load_text  # noqa: PLC0415  lazy: loads torch
        from local_backend.server.handler import RequestHandler  # noqa: PLC0415
        from local_backend.server.model_pool import ModelPool  # noqa: PLC0415
        from local_backend.store.catalog import catalogue as local_models  # noqa: PLC0415

        if not self._registered:
            atexit.register(self.close)
            # A forked child has none of the engine threads: it must load its own.
            os.register_at_fork(after_in_child=self._reset)
            self._registered = True
        names = [wanted.model, *(row.id for row in local_models() if row.id != wanted.model)]
        loaders: dict[str, Callable[[], TextEngine]] = {
            name: partial(self._engine, replace(wanted, model=name), notice) for name in names
        }
        return RequestHandler(ModelPool(loaders, default=wanted.model, text_loader=load_text))

    def _engine(self, wanted: WantedModel, notice: Notice | None) -> TextEngine:
        from local_backend.local_engine import LocalEngine  # noqa: PLC0415  lazy: loads torch
        from local_backend.store.catalog import resolve_model  # noqa: PLC0415

        key = replace(wanted, model=str(resolve_model(wanted.model).resolve()))
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            if key not in self._engines:
                self._engines[key] = LocalEngine.load(wanted.model, wanted.engine_config(), notice=notice)
            return self._engines[key]
