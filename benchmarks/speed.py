"""Decode and prefill rates of the embedded engine beside llama.cpp and the memory-bandwidth ceiling.

Every figure comes from this run: the read bandwidth is measured, then our engine and llama.cpp take turns,
round by round, on the same file and the same number of threads. llama.cpp is `llama-cpp-python` built from
its source distribution, in an environment of its own:

    python3.11 -m venv /tmp/peer
    /tmp/peer/bin/pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36
    .venv/bin/python benchmarks/speed.py --peer-python /tmp/peer/bin/python

Deep caches are made up, not computed (filled_cache.py, llama_cpp_state.py). profile_step.py says where the
time of a step goes.
"""

from __future__ import annotations

import argparse

from comparison import Row, Side, print_comparison
from report import argument_parser
from rounds import Measured, Reply, Rounds, engine_command, engine_side, peer_command, peer_side

from local_backend.kernels.threads import settle_thread_waiting

settle_thread_waiting()

import torch  # noqa: E402 - after the line above, which torch reads once

SHORT_PROMPT = 16
PREFILL_BAR, DECODE_BAR, DEEP_BAR = 2.5, 1.15, 1.5  # times llama.cpp
DEEP = 8192


def main() -> None:
    """Measure and print."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="starter", help="catalogue id or path of a GGUF file")
    parser.add_argument(
        "--peer-python", help="interpreter that has llama_cpp; without it only the ceiling is shown"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=512, help="tokens to prefill (default: 512)")
    parser.add_argument("--depth", type=int, default=DEEP, help=f"of the deep cache (default: {DEEP})")
    parser.add_argument("--decoded", type=int, default=48, help="tokens per measurement (default: 48)")
    options = parser.parse_args()
    rounds, sides = measure(options)
    print_comparison(
        f"speed, {sides[0].command[2]}",
        sides,
        rows(rounds, options),
        threads=options.threads,
        warm_up=f"one uncounted round; {options.rounds} rounds count; reading: {rounds.how_read}",
        as_json=options.json,
    )


def measure(options: argparse.Namespace) -> tuple[Rounds, list[Side]]:
    """Take turns."""
    from local_backend.store.catalog import resolve_model

    path = resolve_model(options.model)
    context = max(options.prompt, options.depth + SHORT_PROMPT) + options.decoded + 64
    engines = {"ours": Measured(engine_command(path, options.threads, context))}
    sides = [engine_side(engines["ours"])]
    if options.peer_python:
        command = peer_command(options.peer_python, path, options.threads, context)
        engines["llama.cpp"] = Measured(command)
        sides.append(peer_side(engines["llama.cpp"]))
    rounds = Rounds(engines, options.threads)
    rounds.take(options.rounds, lambda engine: one_round(engine, options))
    rounds.close()
    return rounds, sides


def one_round(engine: Measured, options: argparse.Namespace) -> Reply:
    """Prefill a long prompt, decode after a short one and after a deep cache; tokens per second."""
    return {
        "prefill": engine.ask(options.prompt, 1)["prefill"],
        "decode": engine.ask(SHORT_PROMPT, options.decoded)["decode"],
        "deep": engine.ask(SHORT_PROMPT, options.decoded, options.depth)["decode"],
    }


def rows(rounds: Rounds, options: argparse.Namespace) -> list[Row]:
    """One row per kind of work."""
    return [
        Row(
            work=work,
            ours=rounds.numbers("ours", key),
            peer=rounds.numbers("llama.cpp", key),
            bar=bar,
            ceiling=() if depth is None else rounds.ceiling(depth),
        )
        for work, key, bar, depth in (
            (f"prefill {options.prompt}", "prefill", PREFILL_BAR, None),
            (f"decode at {SHORT_PROMPT}", "decode", DECODE_BAR, SHORT_PROMPT),
            (f"decode at {options.depth}", "deep", DEEP_BAR, options.depth),
        )
    ]


if __name__ == "__main__":
    main()
