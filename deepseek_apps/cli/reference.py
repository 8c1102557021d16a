"""The page docs/cli.md, made from the commands themselves so that it cannot go stale.

`python -m deepseek_apps.cli.reference` prints it; a test compares it with the file.
"""

from __future__ import annotations

from typing import Any

import typer

from deepseek_apps.cli.chat_commands import COMMANDS
from deepseek_apps.cli.failure import ExitCode
from deepseek_apps.cli.main import app

__all__ = ["reference"]

HEAD = """\
<!-- Made by `python -m deepseek_apps.cli.reference > docs/cli.md`; do not edit. -->
# The `deepseek-apps` command

The answer goes to stdout; reasoning, progress, notes and errors go to stderr. Every error is two lines: what
happened, and what to do next. Colours are off with `--no-color`, with `NO_COLOR` set, and in a pipe.

```sh
deepseek-apps ask "What is a monad?"              # on this machine when there is no key
git diff | deepseek-apps ask "Review this" -b hosted
deepseek-apps ask "..." --json | jq -r .content
deepseek-apps chat --continue
```
"""
EXIT_TEXTS = {
    ExitCode.OK: "ok",
    ExitCode.ERROR: "an error of any other kind; also when the reader of stdout has gone away",
    ExitCode.USAGE: "the command line, the settings or the input cannot be used as they are",
    ExitCode.AUTHENTICATION: "no key, or a wrong one",
    ExitCode.BALANCE_OR_RATE: "no balance left, or too many requests",
    ExitCode.CONTEXT_OVERFLOW: "prompt and answer do not fit the model's context",
    ExitCode.TIMED_OUT: "no complete answer in time",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}
VARIABLES = {
    "DEEPSEEK_API_KEY": "key for api.deepseek.com; never sent anywhere else",
    "DEEPSEEK_APPS_BACKEND, _MODEL, _BASE_URL": "settings, see `config show`",
    "DEEPSEEK_APPS_TIMEOUT, _DEADLINE, _MAX_RETRIES": "settings, see `config show`",
    "DEEPSEEK_APPS_QUANTIZATION, _CACHE_DTYPE": "settings of the local engine, see `serve`",
    "DEEPSEEK_APPS_PREFIX_CACHE_GB, _SPECULATION": "settings of the local engine, see `serve`",
    "DEEPSEEK_APPS_SERVER_API_KEY": "key of your own server: sent by clients, asked for by `serve`",
    "DEEPSEEK_APPS_LEDGER, _CURRENCY, _BUDGET_PER_DAY": "settings of `cost` and its budget",
    "DEEPSEEK_APPS_CONFIG": "path of the config file",
    "DEEPSEEK_APPS_CATALOG": "models, prices, holidays and limits of your own; else catalog.toml beside the"
    " config file",
    "DEEPSEEK_APPS_CACHE_DIR": "where models are kept",
    "DEEPSEEK_APPS_STATE_DIR": "where the chat history and the ledger of calls are kept",
    "DEEPSEEK_APPS_DEBUG": "show tracebacks",
    "NO_COLOR": "no colours",
}


def reference() -> str:
    """Return the page as Markdown."""
    root = typer.main.get_command(app)
    parts = [HEAD, *_sections(root, "deepseek-apps")]
    commands = ((f"`{command.usage}`", command.help) for command in COMMANDS.values())
    parts.append("## Commands inside `chat`\n\n" + _table(("command", "meaning"), commands))
    parts.append(
        "## Exit codes\n\n" + _table(("code", "meaning"), ((str(int(c)), t) for c, t in EXIT_TEXTS.items()))
    )
    parts.append(
        "## Environment\n\n" + _table(("variable", "use"), ((f"`{n}`", t) for n, t in VARIABLES.items()))
    )
    parts.append(
        "## Completion\n\n`deepseek-apps --install-completion` sets it up for your shell: commands, options,"
        " backends, model names.\n"
    )
    return "\n".join(parts)


def _sections(command: Any, path: str) -> list[str]:
    lines = [] if path == "deepseek-apps" else [f"## `{path}`", "", _paragraph(command.help), ""]
    rows = [
        _row(parameter) for parameter in command.params if parameter.name != "help" and _is_ours(parameter)
    ]
    if rows:
        lines.append(_table(("option", "meaning"), rows))
    sections = ["\n".join(lines)] if lines else []
    for name, child in getattr(command, "commands", {}).items():
        sections += _sections(child, f"{path} {name}")
    return sections


def _is_ours(parameter: Any) -> bool:
    return "completion" not in parameter.name


def _row(parameter: Any) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`", parameter.help or ""
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return names, parameter.help or ""


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").split())


def _table(head: tuple[str, str], rows: Any) -> str:
    body = "\n".join(f"| {left} | {' '.join(right.split())} |" for left, right in rows)
    return f"| {head[0]} | {head[1]} |\n|---|---|\n{body}\n"


if __name__ == "__main__":
    typer.echo(reference(), nl=False)
