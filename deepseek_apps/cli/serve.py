"""`deepseek-apps serve`: the local models behind an OpenAI-compatible address."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_apps.cli.options import (
    CacheDtypeOption,
    PrefixCacheOption,
    QuantizationOption,
    SpeculationOption,
    complete_model,
)

if TYPE_CHECKING:
    from deepseek_apps.cli.render import Output
    from local_backend.config import EngineConfig
    from local_backend.server.model_pool import ModelPool

__all__ = ["serve"]


def serve(
    *,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; other machines need --api-key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Model that answers when a request names none of ours: an id, a .gguf file or a checkpoint"
            " folder.",
            show_default="the setting, else starter",
            autocompletion=complete_model,
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="DEEPSEEK_APPS_SERVER_API_KEY", help="Key that clients must send."),
    ] = None,
    quantization: QuantizationOption = None,
    cache_dtype: CacheDtypeOption = None,
    prefix_cache_gb: PrefixCacheOption = None,
    speculation: SpeculationOption = None,
) -> None:
    """Serve the local models to other programs until Ctrl-C."""
    from deepseek_apps.backends.local import require_local_extras  # noqa: PLC0415  lazy: --help needs none
    from deepseek_apps.cli.failure import UsageError  # noqa: PLC0415
    from deepseek_apps.cli.render import Output  # noqa: PLC0415
    from deepseek_apps.cli.session import engine_config, local_model_name  # noqa: PLC0415

    require_local_extras()
    from local_backend.server import launch  # noqa: PLC0415  an optional package
    from local_backend.server.handler import RequestHandler  # noqa: PLC0415

    if not launch.is_loopback(host) and api_key is None:
        raise UsageError(
            f"{host} can be reached from other machines, and there is no key",
            help_message="Pass --api-key (or set DEEPSEEK_APPS_SERVER_API_KEY), or listen on 127.0.0.1.",
        )
    out = Output()
    default = local_model_name(model)
    config = engine_config(
        quantization=quantization,
        cache_dtype=cache_dtype,
        prefix_cache_gb=prefix_cache_gb,
        speculation=speculation,
    )
    pool = _pool(default, config, out)
    handler = RequestHandler(pool, api_key=api_key)
    with launch.bind(host, port) as listener:
        try:
            with out.waiting(f"loading {default}"):
                pool.get(default)
            out.note(f"{default} answers at {_base_url(listener)}")
            out.note(f'try: deepseek-apps ask --base-url {_base_url(listener)} "hello"; Ctrl-C ends')
            launch.serve(handler, host=host, listener=listener)
        finally:
            pool.close()


def _pool(default: str, config: EngineConfig, out: Output) -> ModelPool:
    from local_backend.local_engine import LocalEngine, load_text  # noqa: PLC0415  an optional package
    from local_backend.server.model_pool import ModelPool  # noqa: PLC0415
    from local_backend.store.catalog import catalogue  # noqa: PLC0415

    names = dict.fromkeys([default, *(row.id for row in catalogue())])
    loaders = {name: partial(LocalEngine.load, name, config, notice=out.note) for name in names}
    return ModelPool(loaders, default=default, text_loader=load_text)


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}/v1"
