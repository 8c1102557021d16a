"""The local backend: the embedded engine behind the same request handler that `serve` puts on a socket.

It and _engines.py are the only modules that import local_backend, and only when a request needs it: torch
alone costs over a second. No byte leaves the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Protocol

import httpx2

from deepseek_apps.backends._engines import Engines, Notice, WantedModel
from deepseek_apps.backends._in_process import (
    AsyncBodyStream,
    BodyHandle,
    BodyStream,
    OpenBodies,
    Watchdog,
    read_timeout,
    wait_in_thread,
)
from deepseek_apps.backends.base import BACKEND_HEADER, Backend, BackendName
from deepseek_apps.backends.guard import AMBIENT_HEADERS
from deepseek_apps.catalog import catalogue
from deepseek_apps.errors import SettingsError
from deepseek_apps.settings import CacheDtype, Quantization, Speculation

if TYPE_CHECKING:
    from local_backend.server.messages import Request, Response

__all__ = [
    "AsyncLocalTransport",
    "Handler",
    "LocalBackend",
    "LocalTransport",
    "Notice",
    "require_local_extras",
]

# Reserved by RFC 2606: if such a request ever met a real network, it could go nowhere.
LOCAL_BASE_URL = "http://local.invalid/v1"
EXTRAS = ("deepseek_recipe", "gguf", "jinja2", "llguidance", "numpy", "safetensors", "tokenizers", "torch")


class Handler(Protocol):
    """Answers requests; local_backend's RequestHandler is the real one."""

    def handle(self, request: Request) -> Response:
        """Answer one request; never raises for bad input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBackend(Backend):
    """The embedded engine of this process; all clients that ask for the same share one per model.

    Attributes:
        default_model: Catalogue name or path of the model that answers.
        quantization, cache_dtype: How weights and cache are kept; see local_backend's EngineConfig.
        prefix_cache_bytes: Disk for prefixes of long prompts; see there too.
        speculation: How tokens are guessed ahead; see there too.
        notice: Told, before a model is loaded, what was chosen for it and whether it fits. Not part of the
            backend's value.
    """

    name: ClassVar[BackendName] = "local"
    default_model: str | None = field(default_factory=lambda: catalogue().default_local_model)
    base_url: str = LOCAL_BASE_URL
    quantization: Quantization = "auto"
    cache_dtype: CacheDtype = "auto"
    prefix_cache_bytes: int | None = None
    speculation: Speculation = "auto"
    notice: Notice | None = field(default=None, repr=False, compare=False)

    def transport(self, inner: httpx2.BaseTransport | None = None) -> httpx2.BaseTransport:  # noqa: ARG002
        """Return a transport to the shared engine, which is loaded by the first request."""
        return LocalTransport(self._handler())

    def async_transport(
        self,
        inner: httpx2.AsyncBaseTransport | None = None,  # noqa: ARG002
    ) -> httpx2.AsyncBaseTransport:
        """Return an asynchronous transport to the shared engine, which is loaded by the first request."""
        return AsyncLocalTransport(self._handler())

    def is_pulled(self) -> bool:
        """Whether the model is on this machine, so that answering needs no download."""
        from local_backend.errors import LocalBackendError  # noqa: PLC0415  an optional package
        from local_backend.store.catalog import resolve_model  # noqa: PLC0415

        try:
            resolve_model(self.default_model or catalogue().default_local_model)
        except LocalBackendError:
            return False
        return True

    def context(self) -> int | None:
        """Return the model's longest prompt and answer in tokens; None for a checkpoint named by its path."""
        from local_backend.store.catalog import catalogue as local_models  # noqa: PLC0415  as above

        model = self.default_model or catalogue().default_local_model
        return next((row.context for row in local_models() if row.id == model), None)

    def _handler(self) -> Handler:
        require_local_extras()
        model = self.default_model or catalogue().default_local_model
        wanted = WantedModel(
            model, self.quantization, self.cache_dtype, self.prefix_cache_bytes, self.speculation
        )
        return _SharedHandler(wanted, self.notice)


def require_local_extras() -> None:
    """Check that what the embedded engine needs is installed, without importing it.

    Raises:
        SettingsError: Something is missing.
    """
    if missing := [name for name in EXTRAS if find_spec(name) is None]:
        raise SettingsError(
            f"the local backend needs {', '.join(missing)}, which is not installed",
            help_message="Run: pip install 'deepseek-apps[local]'",
        )


class LocalTransport(httpx2.BaseTransport):
    """Calls a handler in the caller's thread.

    Bytes pass as they are made. Closing a response, or the transport, cancels the generation behind it. The
    read time-out of a request counts from one byte to the next.

    Args:
        handler: What answers.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._open = OpenBodies()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request; returns when its status is known."""
        request.read()
        handle, timeout = self._open.new(), read_timeout(request)
        try:
            with Watchdog(timeout, handle.close) as watchdog:
                response = _answer(self._handler, request, handle)
            watchdog.check()
        except BaseException:
            handle.close()
            raise
        return httpx2.Response(
            response.status, headers=_headers(response), stream=BodyStream(handle, timeout)
        )

    def close(self) -> None:
        """Cancel every answer that is still being read."""
        self._open.close()


class AsyncLocalTransport(httpx2.AsyncBaseTransport):
    """Calls a handler in worker threads; otherwise as LocalTransport.

    Cancelling the task that waits for an answer cancels the generation at once.

    Args:
        handler: What answers.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._open = OpenBodies()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request; returns when its status is known."""
        await request.aread()
        handle, timeout = self._open.new(), read_timeout(request)
        try:
            response = await wait_in_thread(partial(_answer, self._handler, request, handle), timeout)
        except BaseException:
            handle.close()
            raise
        return httpx2.Response(
            response.status, headers=_headers(response), stream=AsyncBodyStream(handle, timeout)
        )

    async def aclose(self) -> None:
        """Cancel every answer that is still being read."""
        self._open.close()


def _answer(handler: Handler, request: httpx2.Request, handle: BodyHandle) -> Response:
    """Ask the handler and wait for the status; the handle can cancel it from the moment it has a body."""
    # Lazy: this is the door to the embedded engine's package.
    from local_backend.server.messages import Request  # noqa: PLC0415

    # No credentials: they were meant for another backend, and this one needs none.
    headers = {name: value for name, value in request.headers.items() if name not in AMBIENT_HEADERS}
    response = handler.handle(
        Request(method=request.method, path=request.url.path, headers=headers, body=request.content)
    )
    handle.attach(response.body)
    settled = response.settled()
    handle.attach(settled.body)
    return settled


def _headers(response: Response) -> dict[str, str]:
    return {**response.headers, BACKEND_HEADER: LocalBackend.name}


class _SharedHandler:
    """Finds the process's handler for a model when the first request comes."""

    def __init__(self, wanted: WantedModel, notice: Notice | None) -> None:
        self._wanted = wanted
        self._notice = notice

    def handle(self, request: Request) -> Response:
        return _ENGINES.handler(self._wanted, self._notice).handle(request)


_ENGINES = Engines()
