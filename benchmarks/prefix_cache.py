"""The second question over a document: its time to first token, in the same process and after a restart.

    .venv/bin/python benchmarks/prefix_cache.py --model starter --tokens 24576

A document of so many tokens and a question are answered cold; then other questions over the same document,
in the same process, in a new one, and in a new one after the system was asked to drop the files from memory.
All times are from handing token ids to the engine to the first token out of it; loading the model is beside
them. Prefixes lie in a directory of their own in the cache directory, so on the same disk; it is deleted at
the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import Measurement, argument_parser, print_report

SAME_PROCESS_BAR = 0.03
RESTART_BAR = 0.05
QUESTION_TOKENS = 32
SHARED = ("models", "packed", "hashes")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="starter", help="catalogue id or path (default: starter)")
    parser.add_argument("--tokens", type=int, default=24 * 1024, help="of the document (default: 24576)")
    parser.add_argument("--runs", type=int, default=3, help="questions or restarts per number (default: 3)")
    parser.add_argument("--cache-dtype", default="auto")
    parser.add_argument("--kv-gib", type=float, default=2.0, help="memory for the cache (default: 2)")
    parser.add_argument("--questions", help=argparse.SUPPRESS)  # what a measured process is asked
    options = parser.parse_args()
    if options.questions is not None:
        print(json.dumps(_answer(options, [int(number) for number in options.questions.split(",")])))
        return
    from local_backend.store.paths import cache_dir

    scratch = Path(tempfile.mkdtemp(prefix="prefix-benchmark-", dir=cache_dir()))
    try:
        for name in SHARED:
            if (cache_dir() / name).is_dir():
                (scratch / name).symlink_to(cache_dir() / name)
        _measure(options, scratch)
    finally:
        shutil.rmtree(scratch)


def _measure(options: argparse.Namespace, scratch: Path) -> None:
    first = _process(scratch, range(options.runs + 1))
    cold, same = first["seconds"][0], first["seconds"][1:]
    again = [_process(scratch, [100 + run]) for run in range(options.runs)]
    unread = []
    for run in range(options.runs):
        _drop_from_memory(scratch / "prefixes")
        unread.append(_process(scratch, [200 + run]))
    restarted = [process["seconds"][0] for process in again]
    size = sum(path.stat().st_size for path in (scratch / "prefixes").glob("*/*-*"))
    seconds = statistics.median(restarted)
    reading = max(seconds - statistics.median(same), 1e-6)
    rows = [
        Measurement(
            name=f"cold, {options.tokens} tokens",
            value=cold,
            unit="s",
            note=f"{options.tokens / cold:.0f} tokens/s, prefix written meanwhile",
        ),
        _bar("same process", same, SAME_PROCESS_BAR * cold, first["cached"][1]),
        _bar("after a restart", restarted, RESTART_BAR * cold, again[0]["cached"][0]),
        _bar(
            "after a restart, files not in memory",
            [process["seconds"][0] for process in unread],
            RESTART_BAR * cold,
            unread[0]["cached"][0],
        ),
        Measurement(name="same process / cold", value=100 * statistics.median(same) / cold, unit="%"),
        Measurement(name="after a restart / cold", value=100 * seconds / cold, unit="%"),
        Measurement(
            name="reading it back",
            value=size / reading / 1e6,
            unit="MB/s",
            note=f"{size / 1e6:.0f} MB, {1e6 * reading / options.tokens:.0f} ms per 1000 tokens:"
            " after a restart, less same process",
        ),
        Measurement(
            name="loading the model", value=again[0]["load"], unit="s", note="not in the times above"
        ),
    ]
    print_report("prefix cache", rows, as_json=options.json, details={"model": options.model})


def _bar(name: str, seconds: list[float], limit: float, cached: int) -> Measurement:
    spread = f"{min(seconds):.3g} to {max(seconds):.3g} s"
    return Measurement(
        name=name, value=statistics.median(seconds), unit="s", limit=limit, note=f"{cached} cached, {spread}"
    )


def _process(scratch: Path, questions: range | list[int]) -> dict[str, list[float]]:
    """Answer questions in a new process; it gets this one's options."""
    asked = ",".join(str(number) for number in questions)
    command = [sys.executable, __file__, *sys.argv[1:], "--questions", asked]
    environment = {**os.environ, "DEEPSEEK_APPS_CACHE_DIR": str(scratch)}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    reply: dict[str, list[float]] = json.loads(done.stdout)
    return reply


def _answer(options: argparse.Namespace, questions: list[int]) -> dict[str, object]:
    """Load the model and answer one question after the other."""
    from local_backend.config import EngineConfig
    from local_backend.local_engine import LocalEngine

    start = time.perf_counter()
    config = EngineConfig(
        max_kv_bytes=int(options.kv_gib * (1 << 30)),
        max_model_len=options.tokens + QUESTION_TOKENS + 16,
        prefix_cache_bytes=16 << 30,
        cache_dtype=options.cache_dtype,
    )
    engine = LocalEngine.load(options.model, config)
    load = time.perf_counter() - start
    _first_token(engine, [1, 2, 3])  # threads, buffers
    vocab = engine.tokenizer.vocab_size
    document = [(1000 + position * 7919) % vocab for position in range(options.tokens)]
    answers = [
        _first_token(engine, document + [(1 + number + k * 31) % vocab for k in range(QUESTION_TOKENS)])
        for number in questions
    ]
    engine.close()
    return {
        "load": load,
        "seconds": [seconds for seconds, _ in answers],
        "cached": [cached for _, cached in answers],
    }


def _first_token(engine: object, prompt: list[int]) -> tuple[float, int]:
    from local_backend.local_engine import LocalEngine
    from local_backend.sampling_params import SamplingParams

    assert isinstance(engine, LocalEngine)
    start = time.perf_counter()
    generation = engine.submit(prompt, SamplingParams(temperature=0, max_tokens=1))
    output = next(iter(generation))
    return time.perf_counter() - start, output.num_cached_tokens


def _drop_from_memory(folder: Path) -> None:
    """Ask the system to forget the files' pages, so that they are read from the disk."""
    for path in folder.glob("*/*-*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
