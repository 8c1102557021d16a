"""`deepseek-apps serve`: the local models behind an OpenAI-compatible address."""

from __future__ import annotations

from typing import Annotated

import typer

from deepseek_apps.cli.options import ModelOption

__all__ = ["serve"]


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    model: ModelOption = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="DEEPSEEK_APPS_SERVE_API_KEY", help="Key that clients must send."),
    ] = None,
) -> None:
    """Serve the local model to other programs; refuses other machines without a key."""
    del host, port, model, api_key
