"""Prompt-lookup speculation beside plain decoding: the same model, the same tasks, by turns.

The tasks are benchmarks/data/speculation.toml: edits and quotations, whose answers repeat their prompts, and
writing, whose answers do not. Two engines share one copy of the weights, one with speculation and one
without; round by round each answers a task, every time without a cached prefix. Rates are of decoding alone,
from the first token of an answer to its last. The outputs are compared token by token.

    .venv/bin/python benchmarks/speculation.py --temperature 0.7
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from report import Measurement, argument_parser, print_report

from local_backend.kernels.threads import settle_thread_waiting

settle_thread_waiting()

import torch  # noqa: E402 - after the line above, which torch reads once

from local_backend.config import EngineConfig  # noqa: E402
from local_backend.engine.engine import Engine  # noqa: E402
from local_backend.families.model_text import ModelText  # noqa: E402
from local_backend.kernels.dispatch import select_kernels  # noqa: E402
from local_backend.local_engine import load_text  # noqa: E402
from local_backend.models.decoder import Decoder  # noqa: E402
from local_backend.sampling_params import SamplingParams  # noqa: E402
from local_backend.store.catalog import resolve_model  # noqa: E402
from local_backend.store.packed import load_or_pack  # noqa: E402
from local_backend.store.source_hash import source_hash  # noqa: E402

TASKS = Path(__file__).parent / "data" / "speculation.toml"
REPEATS_BAR, ELSEWHERE_BAR = 1.8, 0.97


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt and what is known of its answer."""

    name: str
    kind: str
    token_ids: list[int]
    params: SamplingParams


@dataclass(slots=True)
class Runs:
    """What one engine did with one task, round by round."""

    rates: list[float] = field(default_factory=list)
    outputs: list[list[int]] = field(default_factory=list)
    drafted: int = 0
    accepted: int = 0


def main() -> None:
    """Measure and print."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="starter", help="catalogue id or path")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--temperature", type=float, default=0.0, help="above 0 samples, seeded")
    parser.add_argument("--task", help="only tasks with this in their name")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    engines = dict(zip(("off", "auto"), load(args.model), strict=True))
    tasks = read_tasks(load_text(args.model), args)
    results = {task.name: measure(task, engines, args.rounds) for task in tasks}
    rows = [task_row(task, results[task.name]) for task in tasks]
    rows += [kind_row(kind, tasks, results) for kind in dict.fromkeys(task.kind for task in tasks)]
    details = {"tasks": {name: details_of(runs) for name, runs in results.items()}}
    print_report("prompt-lookup speculation", rows, as_json=args.json, details=details)


def load(model: str) -> list[Engine]:
    """Return two engines over one copy of the weights: without speculation, and with it."""
    path, kernels = resolve_model(model), select_kernels()
    decoder = Decoder.build(load_or_pack(path, source_hash(path), kernels, "int8"), kernels)
    return [
        Engine(decoder, EngineConfig(max_model_len=4096, speculation=mode, max_kv_bytes=1 << 29))
        for mode in ("off", "auto")
    ]


def read_tasks(text: ModelText, args: argparse.Namespace) -> list[Task]:
    """Read the tasks and write their prompts as this model takes them."""
    from deepseek_recipe import Conversation, UserMessage

    tasks = []
    for row in tomllib.loads(TASKS.read_text(encoding="utf-8"))["task"]:
        if args.task and args.task not in row["name"]:
            continue
        message = UserMessage(row["prompt"].strip())
        prompt = text.family.render(Conversation([message], thinking_mode=False))
        params = SamplingParams(
            temperature=args.temperature,
            seed=0,
            max_tokens=row["max_tokens"],
            stop_token_ids=text.family.stop_token_ids,
        )
        tasks.append(Task(row["name"], row["kind"], prompt.token_ids, params))
    return tasks


def measure(task: Task, engines: dict[str, Engine], rounds: int) -> dict[str, Runs]:
    """Let the engines answer in turns; the first is asked first in every second round only."""
    runs = {mode: Runs() for mode in engines}
    for number in range(rounds):
        order = list(engines) if number % 2 else list(reversed(engines))
        for mode in order:
            print(f"measuring: {task.name}, speculation {mode}", file=sys.stderr)
            answer(task, engines[mode], runs[mode])
    return runs


def answer(task: Task, engine: Engine, runs: Runs) -> None:
    """Answer once and note the rate, the tokens and what was guessed."""
    before = engine.speculation_statistics()
    salt = str(time.perf_counter())  # no prefix of an earlier round
    seq = engine.new_sequence(task.token_ids, task.params, cache_salt=salt)
    engine.add(seq)
    while not engine.step():
        pass
    start = time.perf_counter()
    while not engine.scheduler.idle:
        engine.step()
    seconds = time.perf_counter() - start
    after = engine.speculation_statistics()
    runs.rates.append((seq.num_generated_tokens - 1) / seconds)
    runs.outputs.append(seq.token_ids[seq.num_prompt_tokens :])
    runs.drafted += after.num_drafted_tokens - before.num_drafted_tokens
    runs.accepted += after.num_accepted_tokens - before.num_accepted_tokens


def ratio(runs: dict[str, Runs]) -> float:
    """Median over the rounds' own ratios."""
    pairs = zip(runs["auto"].rates, runs["off"].rates, strict=True)
    return statistics.median(ours / plain for ours, plain in pairs)


def task_row(task: Task, runs: dict[str, Runs]) -> Measurement:
    """One task: how much faster, and everything that explains it."""
    plain, ours = runs["off"], runs["auto"]
    same = sum(a == b for a, b in zip(ours.outputs, plain.outputs, strict=True))
    accepted = f"{ours.accepted / ours.drafted:.0%} of {ours.drafted}" if ours.drafted else "none"
    return Measurement(
        name=task.name,
        value=ratio(runs),
        unit="x",
        limit=REPEATS_BAR if task.kind == "repeats" else ELSEWHERE_BAR,
        kind="at least",
        note=(
            f"{statistics.median(ours.rates):.1f} against {statistics.median(plain.rates):.1f} tokens/s; "
            f"{len(task.token_ids)} + {len(ours.outputs[0])} tokens; drafts accepted: {accepted}; "
            f"same output in {same} of {len(ours.outputs)} rounds"
        ),
    )


def kind_row(kind: str, tasks: list[Task], results: dict[str, dict[str, Runs]]) -> Measurement:
    """All tasks of a kind: the geometric mean of their ratios."""
    ratios = [ratio(results[task.name]) for task in tasks if task.kind == kind]
    repeats = kind == "repeats"
    return Measurement(
        name=f"all that {'repeat their prompt' if repeats else 'write something new'}",
        value=statistics.geometric_mean(ratios),
        unit="x",
        limit=REPEATS_BAR if repeats else ELSEWHERE_BAR,
        kind="at least",
        note=f"geometric mean; lowest {min(ratios):.2f}",
    )


def details_of(runs: dict[str, Runs]) -> dict[str, object]:
    """Every round's rates, for programs."""
    return {mode: {"rates": run.rates, "drafted": run.drafted} for mode, run in runs.items()}


if __name__ == "__main__":
    main()
