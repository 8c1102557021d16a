"""`deepseek-apps ask`: one question, one answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepseek_apps.cli.options import (
    BackendOption,
    BaseUrlOption,
    JsonOption,
    MaxTokensOption,
    ModelOption,
    SeedOption,
    SystemOption,
    TemperatureOption,
    TimeoutOption,
    UsageOption,
)

if TYPE_CHECKING:
    from deepseek_apps.answer import Answer

__all__ = ["ask"]

JSON_FIELDS = ("content", "reasoning_content", "model", "backend", "usage", "finish_reason", "seconds")


def ask(
    prompt: Annotated[
        str | None, typer.Argument(help="The question. Piped stdin goes before it; '-' is stdin alone.")
    ] = None,
    *,
    system: SystemOption = None,
    backend: BackendOption = None,
    model: ModelOption = None,
    base_url: BaseUrlOption = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Print the answer when it is complete.")
    ] = False,
    usage: UsageOption = False,
    timeout: TimeoutOption = None,
) -> None:
    """Ask once; the answer goes to stdout, everything else to stderr."""
    from deepseek_apps.answer import AnswerStream, Question  # noqa: PLC0415  lazy: --help needs none of it
    from deepseek_apps.cli.limits import time_limit  # noqa: PLC0415
    from deepseek_apps.cli.prompt_input import read_prompt  # noqa: PLC0415
    from deepseek_apps.cli.render import AnswerView, Output  # noqa: PLC0415
    from deepseek_apps.cli.session import answer_notes, connect, system_messages  # noqa: PLC0415

    out = Output()
    question = Question(
        messages=[*system_messages(system), {"role": "user", "content": read_prompt(prompt)}],
        model=model,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        stream=not no_stream,
    )
    with (
        time_limit(timeout),
        connect(backend=backend, model=model, base_url=base_url, notice=out.note) as client,
        AnswerStream(client, question) as stream,
    ):
        AnswerView(out, show=not as_json).run(stream)
    if as_json:
        out.json(_as_json(stream.answer))
    for note in answer_notes(stream.answer, usage=usage):
        out.note(note)


def _as_json(answer: Answer) -> dict[str, Any]:
    from deepseek_apps.cli.session import answer_cost  # noqa: PLC0415  lazy, as above

    fields = asdict(answer)
    cost = answer_cost(answer)
    return {
        **{name: round(fields[name], 3) if name == "seconds" else fields[name] for name in JSON_FIELDS},
        # Text, so that no digit is lost.
        "cost": None if cost is None else {"amount": f"{cost.total:f}", "currency": cost.currency},
    }
