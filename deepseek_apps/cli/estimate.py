"""`deepseek-apps cost estimate`: what a batch file, messages or a prompt take, before they are sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepseek_apps.cli.options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deepseek_apps.backends import Target
    from deepseek_apps.batch.estimate import Estimate, ModelEstimate, Range
    from deepseek_apps.batch.line_checks import BatchRequest
    from deepseek_apps.cli.render import Output

__all__ = ["estimate", "make_estimate", "print_estimate"]

ASSUMPTIONS = (
    "from: every shared beginning is found in the cache, and answers are empty",
    "to: nothing is found in the cache, and every answer is as long as it may be",
    "shared: prompt tokens that begin like an earlier request of the file, in units of 128; those sent while"
    " the first of them is not yet answered find less",
)


def estimate(
    file: Annotated[
        Path,
        typer.Argument(help="A batch file (.jsonl), a JSON list of messages, or any text as one prompt."),
    ],
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Model to compare, may be repeated; a batch file's own models otherwise.",
            show_default="all hosted models for a prompt",
        ),
    ] = None,
    answer_tokens: Annotated[
        int | None,
        typer.Option(
            "--answer-tokens", min=0, help="Assume that answers, thinking included, are at most so long."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print tokens and price of requests, now, in and out of peak hours; sends nothing."""
    from deepseek_apps.catalog import catalogue  # noqa: PLC0415  lazy: --help needs none of it
    from deepseek_apps.cli.render import Output  # noqa: PLC0415

    out = Output()
    with out.waiting("counting tokens"):
        requests = _requests_in(file, model or [], tuple(catalogue().models))
        result = make_estimate(requests, default_model=catalogue().default_model, answer_tokens=answer_tokens)
    print_estimate(out, result, as_json=as_json)


def make_estimate(
    requests: Iterable[BatchRequest],
    *,
    default_model: str | None,
    answer_tokens: int | None = None,
    target: Target | None = None,
) -> Estimate:
    """Estimate requests with the real tokenizer, at the present time."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from deepseek_apps.batch.estimate import estimate_requests  # noqa: PLC0415
    from deepseek_apps.batch.spending import count_prompt_tokens  # noqa: PLC0415

    return estimate_requests(
        requests,
        count=count_prompt_tokens,
        default_model=default_model or "",
        at=datetime.now(UTC),
        answer_tokens=answer_tokens,
        target=target,
    )


def print_estimate(out: Output, result: Estimate, *, as_json: bool) -> None:
    """Print an estimate: the table on stdout, what it assumes on stderr."""
    if as_json:
        out.json(_as_json(result))
        return
    columns = ("model", "requests", "prompt tokens", "shared", "answer tokens", "off-peak USD", "peak USD")
    out.table(columns, (_row(row) for row in result.models))
    period = "peak" if result.is_peak else "off-peak"
    out.note(f"now: {period}, until {result.until.astimezone():%Y-%m-%d %H:%M}")
    for assumption in ASSUMPTIONS:
        out.note(assumption)


def _requests_in(file: Path, models: list[str], all_models: tuple[str, ...]) -> Iterator[BatchRequest]:
    """Read a file as what it is; a model named by the user takes the place of a batch file's own."""
    from dataclasses import replace  # noqa: PLC0415

    from deepseek_apps.batch import read_source  # noqa: PLC0415

    if file.suffix == ".jsonl":
        source = read_source(file)
        for name in models or [""]:
            for request in source.requests():
                yield replace(request, body={**request.body, "model": name}) if name else request
        return
    messages = _messages_in(file)
    from deepseek_apps.batch.line_checks import BatchRequest  # noqa: PLC0415

    for name in models or all_models:
        yield BatchRequest("prompt", "chat/completions", {"model": name, "messages": messages})


def _messages_in(file: Path) -> list[dict[str, Any]]:
    import json  # noqa: PLC0415

    from deepseek_apps.batch.line_checks import LineError, check_messages  # noqa: PLC0415
    from deepseek_apps.cli.failure import UsageError  # noqa: PLC0415
    from deepseek_apps.cli.prompt_input import decode_input  # noqa: PLC0415

    text = decode_input(file.read_bytes(), str(file))
    if file.suffix != ".json":
        return [{"role": "user", "content": text}]
    try:
        value = json.loads(text)
        messages: Any = value.get("messages") if isinstance(value, dict) else value
        check_messages(messages)
    except (ValueError, LineError) as error:
        raise UsageError(
            f"{file} is no list of messages: {error}",
            help_message='Expected [{"role": "user", "content": "…"}], or an object with "messages".',
        ) from error
    return list(messages)


def _row(row: ModelEstimate) -> tuple[str, ...]:
    counts = (row.requests, row.prompt_tokens, row.shared_tokens, row.most_output_tokens)
    return (row.model, *(f"{count:,}" for count in counts), _money(row.off_peak), _money(row.peak))


def _money(amount: Range | None) -> str:
    return "price unknown" if amount is None else f"{amount.low:.4f} to {amount.high:.4f}"


def _as_json(result: Estimate) -> dict[str, Any]:
    return {
        "at": result.at.isoformat(timespec="seconds"),
        "period": "peak" if result.is_peak else "off-peak",
        "until": result.until.isoformat(timespec="seconds"),
        "models": [
            {
                "model": row.model,
                "requests": row.requests,
                "prompt_tokens": row.prompt_tokens,
                "shared_tokens": row.shared_tokens,
                "most_output_tokens": row.most_output_tokens,
                "off_peak_usd": _range_json(row.off_peak),
                "peak_usd": _range_json(row.peak),
            }
            for row in result.models
        ],
    }


def _range_json(amount: Range | None) -> dict[str, float] | None:
    return None if amount is None else {"from": float(amount.low), "to": float(amount.high)}
