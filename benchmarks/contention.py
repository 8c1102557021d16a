"""Decoding while another process wants a core: what each engine loses, against what was taken from it.

    .venv/bin/python benchmarks/contention.py --peer-python /tmp/peer/bin/python

One engine decodes at a time, alone and then beside --busy processes that spin without end. What they take is
their own processor time over the time of all cores. An engine whose threads wait for each other loses more
than that, because the slowest thread sets the pace; the bar is to lose no more. See speed.py for the peer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from comparison import Row, Side, print_comparison
from report import argument_parser
from rounds import Measured, Reply, Rounds, engine_command, engine_side, peer_command, peer_side

SPIN = "while True: pass"
PROMPT, CONTEXT = 16, 512
SETTLE = 0.3  # seconds, for the system to spread the processes


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="starter", help="catalogue id or path of a GGUF file")
    parser.add_argument("--peer-python", help="interpreter that has llama_cpp")
    parser.add_argument("--threads", type=int, default=_cores())
    parser.add_argument("--busy", type=int, default=1, help="other processes (default: 1)")
    parser.add_argument("--decoded", type=int, default=96, help="tokens (default: 96)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rounds, sides = measure(options)
    print_comparison(
        f"decoding beside {options.busy} busy process(es)",
        sides,
        rows(rounds),
        threads=options.threads,
        warm_up=f"one uncounted round; {options.rounds} rounds count",
        as_json=options.json,
    )


def measure(options: argparse.Namespace) -> tuple[Rounds, list[Side]]:
    """Take turns, each engine alone and then beside the others."""
    from local_backend.store.catalog import resolve_model

    path = resolve_model(options.model)
    engines = {"ours": Measured(engine_command(path, options.threads, CONTEXT))}
    sides = [engine_side(engines["ours"])]
    if options.peer_python:
        command = peer_command(options.peer_python, path, options.threads, CONTEXT)
        engines["llama.cpp"] = Measured(command)
        sides.append(peer_side(engines["llama.cpp"]))
    rounds = Rounds(engines, options.threads)
    rounds.take(options.rounds, lambda engine: one_round(engine, options.busy, options.decoded))
    rounds.close()
    return rounds, sides


def one_round(engine: Measured, busy: int, decoded: int) -> Reply:
    """Decode alone and beside busy processes; rates, and in percent what was lost and what was taken."""
    alone = engine.ask(PROMPT, decoded)["decode"]
    with spinning(busy) as taken:
        beside = engine.ask(PROMPT, decoded)["decode"]
        share = taken()
    return {"alone": alone, "beside": beside, "lost": 100 * (1 - beside / alone), "taken": 100 * share}


@contextmanager
def spinning(count: int) -> Iterator[Callable[[], float]]:
    """Run so many busy processes; gives a function that says which share of all cores' time they had."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        time.sleep(SETTLE)
        start, used = time.perf_counter(), sum(map(_processor_seconds, processes))

        def taken() -> float:
            now = sum(map(_processor_seconds, processes))
            return (now - used) / (time.perf_counter() - start) / _cores()

        yield taken
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _processor_seconds(process: subprocess.Popen[bytes]) -> float:
    import psutil

    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rows(rounds: Rounds) -> list[Row]:
    """Rates, losses and what was taken."""

    def row(work: str, key: str, unit: str, note: str = "") -> Row:
        ours, peer = rounds.numbers("ours", key), rounds.numbers("llama.cpp", key)
        return Row(work=work, ours=ours, peer=peer, unit=unit, note=note)

    lost, taken = (statistics.median(rounds.numbers("ours", key)) for key in ("lost", "taken"))
    verdict = f"bar: lose no more than was taken, {'ok' if lost <= taken else 'MISSED'}"
    return [
        row("decode alone", "alone", "tok/s"),
        row("decode beside them", "beside", "tok/s"),
        row("lost of the rate", "lost", "%", verdict),
        row("taken of the cores", "taken", "%"),
    ]


if __name__ == "__main__":
    main()
