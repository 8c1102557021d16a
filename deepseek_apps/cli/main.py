"""The `deepseek-apps` command: its verbs, and the one place where errors become exit codes.

Starting it must stay cheap (`--help` within 0.3 s), so verbs import what they need when they run.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from deepseek_apps.cli import ask, balance, batch, cache, chat, config, cost, doctor, models, serve
from deepseek_apps.cli.failure import ExitCode, explain

__all__ = ["app", "main"]

EPILOG = (
    "Exit codes: 0 ok, 1 error, 2 usage, 3 authentication, 4 balance or rate, 5 context overflow,"
    " 124 time-out, 130 interrupt."
)

app = typer.Typer(
    name="deepseek-apps",
    help="Ask DeepSeek: on this machine, at api.deepseek.com, or on a server of your own.",
    epilog=EPILOG,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command()(ask.ask)
app.command()(chat.chat)
app.command()(batch.batch)
app.add_typer(models.app, name="models")
app.add_typer(cache.app, name="cache")
app.command()(serve.serve)
app.command()(doctor.doctor)
app.command()(balance.balance)
app.add_typer(cost.app, name="cost")
app.add_typer(config.app, name="config")


def print_version(value: bool) -> None:
    """Print the version and stop."""
    if value:
        from importlib.metadata import version  # noqa: PLC0415  lazy: costs 30 ms

        typer.echo(f"deepseek-apps {version('deepseek-apps')}")
        raise typer.Exit


def disable_color(value: bool) -> None:
    """Honour --no-color by the variable that every library we use honours."""
    if value:
        os.environ["NO_COLOR"] = "1"


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
    no_color: Annotated[
        bool,
        typer.Option(
            "--no-color", callback=disable_color, is_eager=True, help="No colours (or set NO_COLOR)."
        ),
    ] = False,
) -> None:
    del version, no_color
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program name; None is the process's own.

    Returns:
        The exit code, as listed in `failure.ExitCode`.
    """
    from deepseek_apps.cli.render import make_streams_lenient  # noqa: PLC0415  lazy: --help needs no rich

    # A command imports a million objects that live to its end: looking for garbage among them costs 0.15 s.
    gc.set_threshold(100_000, 20, 20)
    make_streams_lenient()
    _log_briefly()
    try:
        result = typer.main.get_command(app).main(
            args=arguments, prog_name="deepseek-apps", standalone_mode=False
        )
    except Exception as error:  # noqa: BLE001  the one place that turns errors into exit codes
        return _fail(error)
    # Typer turns Ctrl-C into ExitCode.INTERRUPTED; other verbs return nothing.
    return result if isinstance(result, int) else ExitCode.OK


def _log_briefly() -> None:
    """Show what libraries warn of on stderr, without tracebacks unless they were asked for."""
    import logging  # noqa: PLC0415  lazy: rich has loaded it by now

    class Brief(logging.Formatter):
        def formatException(self, ei: object) -> str:  # noqa: ARG002, N802  their name
            return ""

    handler = logging.StreamHandler()
    if not os.environ.get("DEEPSEEK_APPS_DEBUG"):
        handler.setFormatter(Brief("warning: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _fail(error: BaseException) -> int:
    if os.environ.get("DEEPSEEK_APPS_DEBUG"):
        raise error
    from deepseek_apps.cli.render import Output  # noqa: PLC0415

    context = getattr(error, "ctx", None)
    failure = explain(error, command=context.command_path if context else "deepseek-apps")
    Output().failure(failure)
    return int(failure.exit_code)


if __name__ == "__main__":
    sys.exit(main())
