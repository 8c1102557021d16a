"""`deepseek-apps config`: where settings come from, what they are, and how to change one."""

from __future__ import annotations

from typing import Annotated

import typer

from deepseek_apps.cli.options import JsonOption

__all__ = ["app"]

app = typer.Typer(help="Show and change the settings.", no_args_is_help=True)

# Offered by completion only: `deepseek_apps.settings` decides what is accepted, but is slow to load.
KEYS = (
    "backend",
    "model",
    "base_url",
    "timeout",
    "max_retries",
    "currency",
    "budget_per_day",
    "ledger",
    "prefix_cache_gb",
)


def _complete_key(incomplete: str) -> list[str]:
    return [key for key in KEYS if key.startswith(incomplete)]


@app.command()
def path() -> None:
    """Print the path of the config file."""
    from deepseek_apps.cli.render import Output  # noqa: PLC0415  lazy: --help needs none of it
    from deepseek_apps.settings import config_path  # noqa: PLC0415

    Output().text(str(config_path()))


@app.command()
def show(as_json: JsonOption = False) -> None:
    """Print the settings in force, from environment, file and defaults; keys are masked."""
    from deepseek_apps.cli.render import Output  # noqa: PLC0415
    from deepseek_apps.settings import describe, load_settings  # noqa: PLC0415

    out = Output()
    settings = describe(load_settings())
    if as_json:
        out.json(settings)
    else:
        out.fields(settings.items())


@app.command("set")
def set_value(
    key: Annotated[str, typer.Argument(help="Name of the setting.", autocompletion=_complete_key)],
    value: Annotated[str, typer.Argument(help="Its new value.")],
) -> None:
    """Write one setting to the config file; everything else in it stays."""
    from deepseek_apps.cli.prompt_input import check_text  # noqa: PLC0415
    from deepseek_apps.cli.render import Output  # noqa: PLC0415
    from deepseek_apps.settings import save_setting  # noqa: PLC0415

    saved = save_setting(check_text(key, "KEY"), check_text(value, "VALUE"))
    Output().note(f"{key} is set in {saved}")
