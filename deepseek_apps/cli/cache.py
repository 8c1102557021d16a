"""`deepseek-apps cache`: what the local backend remembers of long prompts on disk."""

from __future__ import annotations

from typing import Annotated

import typer

from deepseek_apps.cli.figures import readable_size
from deepseek_apps.cli.options import JsonOption

__all__ = ["app"]

app = typer.Typer(
    help="Show and delete the computed prefixes of long prompts on this machine.", no_args_is_help=True
)


@app.command()
def info(as_json: JsonOption = False) -> None:
    """Show where prefixes lie, what they take and what they may take."""
    from deepseek_apps.cli.render import Output  # noqa: PLC0415  lazy: --help needs none of it
    from deepseek_apps.settings import load_settings  # noqa: PLC0415
    from local_backend.store.prefix_limits import default_limit, prefix_usage  # noqa: PLC0415

    usage, configured = prefix_usage(), load_settings().prefix_cache_bytes
    limit = default_limit() if configured is None else configured
    out = Output()
    if as_json:
        out.json(
            {
                "directory": str(usage.directory),
                "bytes": usage.size,
                "limit": limit,
                "segments": usage.segments,
                "models": usage.models,
            }
        )
        return
    out.fields(
        [
            ("directory", str(usage.directory)),
            ("size", f"{readable_size(usage.size)} of {readable_size(limit)}"),
            ("segments", f"{usage.segments} of {usage.models} models"),
        ]
    )


@app.command()
def clear(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete all cached prefixes; asks first."""
    from deepseek_apps.cli.failure import UsageError  # noqa: PLC0415
    from deepseek_apps.cli.render import Output  # noqa: PLC0415
    from local_backend.store.prefix_limits import clear_prefixes, prefix_usage  # noqa: PLC0415

    out = Output()
    if not yes and not out.confirm(f"Delete {readable_size(prefix_usage().size)} of cached prefixes?"):
        raise UsageError("nothing was deleted", help_message="Answer y, or pass --yes.")
    out.note(f"freed {readable_size(clear_prefixes())}")
