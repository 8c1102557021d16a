"""Options that several verbs share, and the completion of their values. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

__all__ = [
    "BackendName",
    "BackendOption",
    "BaseUrlOption",
    "CacheDtypeName",
    "CacheDtypeOption",
    "JsonOption",
    "MaxTokensOption",
    "ModelOption",
    "PrefixCacheOption",
    "QuantizationName",
    "QuantizationOption",
    "SeedOption",
    "SpeculationName",
    "SpeculationOption",
    "SystemOption",
    "TemperatureOption",
    "TimeoutOption",
    "UsageOption",
    "complete_backend",
    "complete_model",
]

# A policy, a backend, or server:NAME; `deepseek_apps.settings` decides, but is slow to load.
BackendName: TypeAlias = str
BACKENDS = ("auto", "hosted", "local", "server", "cheapest", "private")
QuantizationName = Literal["auto", "none", "int8", "int4"]
CacheDtypeName = Literal["auto", "float32", "bfloat16", "int8", "int6"]
SpeculationName = Literal["auto", "off", "prompt-lookup", "mtp"]


def complete_backend(incomplete: str) -> list[str]:
    """Return the backends and policies that start with incomplete, the config file's servers among them."""
    from deepseek_apps.errors import SettingsError  # noqa: PLC0415  lazy: only the shell asks for this
    from deepseek_apps.settings import load_settings  # noqa: PLC0415

    try:
        servers = [f"server:{name}" for name in load_settings().servers]
    except SettingsError:
        servers = []
    return [name for name in (*BACKENDS, *servers) if name.startswith(incomplete)]


def complete_model(incomplete: str) -> list[tuple[str, str]]:
    """Return (name, help) of the local and hosted models whose names start with incomplete."""
    from deepseek_apps.cli.models import local_models  # noqa: PLC0415  lazy: only the shell asks for this
    from deepseek_apps.cli.session import hosted_models  # noqa: PLC0415

    names = {**hosted_models(), **local_models()}
    return [(name, text) for name, text in names.items() if name.startswith(incomplete)]


BackendOption = Annotated[
    BackendName | None,
    typer.Option(
        "--backend",
        "-b",
        help="Where to ask: local (this machine), hosted (api.deepseek.com), server (--base-url),"
        " server:NAME (of the config file), cheapest, private (nothing leaves this machine), or auto:"
        " server if a URL is set, hosted if there is a key, else local.",
        metavar="NAME",
        show_default="the setting, else auto",
        autocompletion=complete_backend,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Model name, see `deepseek-apps models list`; locally also the path of a checkpoint.",
        show_default="the backend's default",
        autocompletion=complete_model,
    ),
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option("--base-url", help="An OpenAI-compatible server, such as http://127.0.0.1:8000/v1."),
]
QuantizationOption = Annotated[
    QuantizationName | None,
    typer.Option(
        "--quantization",
        help="Weights of an unquantised model: int8, int4, none (as they are), or auto, which takes int8 if"
        " that fits the memory available, else int4.",
        show_default="the setting, else auto",
    ),
]
CacheDtypeOption = Annotated[
    CacheDtypeName | None,
    typer.Option(
        "--cache-dtype",
        help="Type of the cache; int8 and int6 save memory, and need a model with latent attention.",
        show_default="the setting, else auto",
    ),
]
SpeculationOption = Annotated[
    SpeculationName | None,
    typer.Option(
        "--speculation",
        help="How to guess tokens ahead, for speed alone: from the text so far (prompt-lookup), by the"
        " model's multi-token prediction module (mtp), or both as far as that pays (auto).",
        show_default="the setting, else auto",
    ),
]
PrefixCacheOption = Annotated[
    float | None,
    typer.Option(
        "--prefix-cache-gb",
        min=0.0,
        help="Disk for the computed prefixes of long prompts, over all models; 0 keeps none.",
        show_default="the setting, else 4.3, or a tenth of the free disk",
    ),
]
SystemOption = Annotated[str | None, typer.Option("--system", "-s", help="System prompt.")]
TemperatureOption = Annotated[
    float | None,
    typer.Option("--temperature", "-t", min=0.0, max=2.0, help="0 always takes the most likely token."),
]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Makes sampling repeatable, where the backend can.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", min=0.001, help="Give up after this many seconds (exit code 124)."),
]
UsageOption = Annotated[
    bool, typer.Option("--usage", "-u", help="Print tokens, cache hits, cost and speed on stderr.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
