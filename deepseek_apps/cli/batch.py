"""`deepseek-apps batch`: many requests from a file, resumed after any interruption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_apps.cli.options import BackendOption, BaseUrlOption, JsonOption, ModelOption

if TYPE_CHECKING:
    from deepseek_apps.backend_client import AsyncBackendClient
    from deepseek_apps.batch import BatchProgress, BatchSource
    from deepseek_apps.cli.render import Output

__all__ = ["batch"]


def batch(
    source: Annotated[
        Path, typer.Argument(metavar="IN.jsonl", help="Requests in OpenAI's batch format, one a line.")
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT.jsonl",
            help="Results, appended as they come and in the input's order at the end. Run it again with the"
            " same files to go on: what is answered is never sent again.",
        ),
    ],
    *,
    backend: BackendOption = None,
    model: ModelOption = None,
    base_url: BaseUrlOption = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            "-c",
            min=1,
            help="Most requests at once; fewer run while the backend refuses that many.",
            show_default="4 on this machine, else 64",
        ),
    ] = None,
    max_retries: Annotated[
        int,
        typer.Option(
            "--max-retries", min=0, help="Repeats of a request after 500, 503 or a lost connection."
        ),
    ] = 5,
    off_peak: Annotated[
        bool,
        typer.Option("--off-peak", help="Send only while DeepSeek charges half; wait for it if need be."),
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", min=0.0, help="Most the batch may cost in US dollars, earlier runs included."
        ),
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option(
            "--errors", help="Write results that are no answers here too; OUT has them all the same."
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0.001, help="Stop the batch after this many seconds (exit code 124)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the input, print what it would cost, and send nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer every request of a file; the summary goes to stdout, progress to stderr."""
    from decimal import Decimal  # noqa: PLC0415  lazy: --help needs none of it

    from deepseek_apps.batch import BatchOptions, read_source  # noqa: PLC0415
    from deepseek_apps.cli._batch_session import open_client, run_in_terminal  # noqa: PLC0415
    from deepseek_apps.cli.render import Output  # noqa: PLC0415

    out = Output()
    options = BatchOptions(
        concurrency=concurrency,
        max_retries=max_retries,
        off_peak=off_peak,
        budget=None if budget is None else Decimal(str(budget)),
        timeout=timeout,
    )
    checked = read_source(source)
    client = open_client(backend=backend, model=model, base_url=base_url, notice=out.note)
    if dry_run:
        _print_estimate(out, checked, client, as_json=as_json)
        return
    if off_peak and client.backend.name != "hosted":
        out.note(f"--off-peak has no effect: the {client.backend.name} backend costs the same at any hour")
    summary = run_in_terminal(out, checked, target, client=client, options=options, errors=errors)
    _print_summary(out, summary, target, as_json=as_json)


def _print_estimate(out: Output, source: BatchSource, client: AsyncBackendClient, *, as_json: bool) -> None:
    from deepseek_apps.cli.estimate import make_estimate, print_estimate  # noqa: PLC0415
    from deepseek_apps.routing.routed import targets_of  # noqa: PLC0415

    target = targets_of(client.backend)[0]
    with out.waiting("counting tokens"):
        estimate = make_estimate(source.requests(), default_model=target.default_model, target=target)
    print_estimate(out, estimate, as_json=as_json)


def _print_summary(out: Output, summary: BatchProgress, target: Path, *, as_json: bool) -> None:
    from deepseek_apps.batch import BatchIncompleteError  # noqa: PLC0415
    from deepseek_apps.cli._batch_session import summary_fields  # noqa: PLC0415

    fields = summary_fields(summary)
    if as_json:
        out.json(fields | {"output": str(target)})
    else:
        out.fields((name.replace("_", " "), str(value)) for name, value in fields.items())
    if summary.unanswered:
        raise BatchIncompleteError(
            f"{summary.unanswered} of {summary.total} requests have no answer",
            help_message=f"Their lines in {target} say why. Running it again sends those that may go better.",
        )
