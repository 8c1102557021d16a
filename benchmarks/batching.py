"""Many requests at once through the real server, beside llama.cpp's: throughput, fairness, waiting.

    .venv/bin/python benchmarks/batching.py --peer-server /tmp/llama.cpp/build/bin/llama-server

Groups of 1, 4, 16 and 64 requests are sent at the same moment and streamed, each with a prompt of its own, so
that no prefix is found. The servers take turns, group by group, while the other one sleeps. llama-server is
built from the same sources as speed.py's peer:

    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36 && tar xf llama_cpp_python-0.3.36.tar.gz
    cd llama_cpp_python-0.3.36/vendor/llama.cpp && cmake -B build -DGGML_NATIVE=ON
    cmake --build build --target llama-server
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from comparison import Row, Side, print_comparison
from report import argument_parser
from served import Served, llama_server, our_server
from stream_client import Answer, ask_all

GROUPS = (1, 4, 16, 64)
SLOTS = 16
CONTEXT = 512  # positions of one of llama-server's slots
BARS = {16: 1.3}  # times llama-server
SCALING_BARS = {16: 5.0}  # times one request alone
SUBJECTS = (
    "a lighthouse",
    "a bakery",
    "a river",
    "a railway",
    "an orchard",
    "a library",
    "a market",
    "a ship",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What a group of requests saw; times in seconds.

    Attributes:
        rate: Tokens/s of all answers together, from the start to the last token, prompts included.
        steady: Tokens/s of all together while every one of them is decoded; 0 when there is no such time.
        first_half, first_most: Time to first token, median and 95th percentile.
        gap: 95th percentile of the time between two pieces of an answer.
        fairness: Slowest request's tokens/s over the fastest's.
        shorter: Answers that ended before the wanted length.
    """

    rate: float
    steady: float
    first_half: float
    first_most: float
    gap: float
    fairness: float
    shorter: int

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Group:
        """Sum up."""
        firsts = [answer.stamps[0] for answer in answers]
        rates = [answer.rate for answer in answers]
        gaps = [gap for answer in answers for gap in answer.gaps]
        return cls(
            rate=sum(answer.tokens for answer in answers) / max(answer.stamps[-1] for answer in answers),
            steady=steady_rate(answers),
            first_half=statistics.median(firsts),
            first_most=percentile(firsts, 0.95),
            gap=percentile(gaps, 0.95),
            fairness=min(rates) / max(rates),
            shorter=sum(answer.finish_reason != "length" for answer in answers),
        )


def steady_rate(answers: Sequence[Answer]) -> float:
    """Tokens/s from the last first token to the first last one."""
    begin, end = max(answer.stamps[0] for answer in answers), min(answer.stamps[-1] for answer in answers)
    if end <= begin:
        return 0.0
    inside = sum(
        answer.tokens / len(answer.stamps) * sum(begin < stamp <= end for stamp in answer.stamps)
        for answer in answers
    )
    return inside / (end - begin)


Results = dict[str, dict[int, list[Group]]]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="starter-small", help="catalogue id or path of a GGUF file")
    parser.add_argument("--peer-server", help="llama.cpp's llama-server")
    parser.add_argument("--peer-slots", type=int, default=SLOTS, help=f"default: {SLOTS}")
    parser.add_argument(
        "--groups", type=lambda text: [int(part) for part in text.split(",")], default=list(GROUPS),
        help="requests at once (default: 1,4,16,64)",
    )  # fmt: skip
    parser.add_argument("--tokens", type=int, default=128, help="of each answer (default: 128)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results, sides = measure(options)
    print_comparison(
        f"{options.tokens}-token answers of {options.model}, many at once",
        sides,
        rows(results),
        threads=options.threads,
        warm_up=f"one short request to each; {options.rounds} rounds count",
        as_json=options.json,
    )


def measure(options: argparse.Namespace) -> tuple[Results, list[Side]]:
    """Start both servers and let them take turns."""
    from local_backend.store.catalog import resolve_model

    path = resolve_model(options.model)
    commands = {"ours": our_server(options.model)}
    if options.peer_server:
        commands["llama-server"] = llama_server(
            options.peer_server, path, options.peer_slots, options.threads, CONTEXT
        )
    results: Results = {name: {size: [] for size in options.groups} for name in commands}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(Served(command)) for name, command in commands.items()}
        for server in servers.values():
            ask_all(server.port, ["Say hello."], 8, options.model)
        for turn in range(options.rounds):
            for size in options.groups:
                prompts = [prompt(turn, size, number) for number in range(size)]
                for name, server in servers.items():
                    answers = ask_all(server.port, prompts, options.tokens, options.model)
                    results[name][size].append(Group.of(answers))
        file = {"file": f"{path.name}, {path.stat().st_size / 1e9:.2f} GB"}
        sides = [Side(name=name, command=server.command, about=file) for name, server in servers.items()]
    return results, sides


def prompt(turn: int, size: int, number: int) -> str:
    """Return a prompt that begins like no other and asks for a long answer."""
    return (
        f"[{turn}-{size}-{number}] Write a story of a thousand words about "
        f"{SUBJECTS[number % len(SUBJECTS)]}, beginning with the weather on the morning of day {number + 1}. "
        "No headings, no lists, no summary."
    )


def rows(results: Results) -> list[Row]:
    """Six rows per group size."""
    ours, peer = results["ours"], results.get("llama-server", {})
    lines = []
    for size in ours:
        for work, key, unit, factor in (
            ("all together", "rate", "tok/s", 1.0),
            ("while all decode", "steady", "tok/s", 1.0),
            ("first token, median", "first_half", "s", 1.0),
            ("first token, 95 %", "first_most", "s", 1.0),
            ("between pieces, 95 %", "gap", "ms", 1e3),
            ("slowest over fastest", "fairness", "", 1.0),
        ):
            lines.append(
                Row(
                    work=f"{size} at once: {work}",
                    ours=[factor * getattr(group, key) for group in ours[size]],
                    peer=[factor * getattr(group, key) for group in peer.get(size, [])],
                    unit=unit,
                    bar=BARS.get(size) if key == "rate" else None,
                    note=scaling(results, size) if key == "rate" else "",
                )
            )
    return lines


def scaling(results: Results, size: int) -> str:
    """Say how many times one request's rate the group's is, and how many answers were too short."""
    notes = []
    for name, groups in results.items():
        if size > 1 and groups.get(1):
            pairs = zip(groups[size], groups[1], strict=True)
            times = statistics.median(group.rate / alone.rate for group, alone in pairs)
            bar = f" (bar {SCALING_BARS[size]:g}x)" if name == "ours" and size in SCALING_BARS else ""
            notes.append(f"{name} {times:.2f}x one alone{bar}")
        if shorter := sum(group.shorter for group in groups[size]):
            notes.append(f"{name}: {shorter} answers ended early")
    return "; ".join(notes)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


if __name__ == "__main__":
    main()
