r"""DeepSeek-V2-Lite's true shape (15.7 B parameters, 64 experts) on this machine, beside llama.cpp.

The weights are random, so this says how fast and how large, and nothing about answers. The file is written
the first time (v2_lite_files.py: 8.8 GB, Q4_0), its packed copy takes another 10 GB of disk beside it. Our
engine and llama.cpp then take turns on the same file, with the same tokens and number of threads:

    .venv/bin/python benchmarks/v2_lite.py --peer-python /tmp/peer/bin/python --plot docs/images

See speed.py for making the peer's environment. --layers 4 is a smaller model; with --format hf it is bfloat16
shards that are packed as int4, and the peer is transformers, as published:

    .venv/bin/python benchmarks/v2_lite.py --format hf --layers 8 --peer-python .venv/bin/python \
        --lengths 2048,8192 --depths 2048,8192

The ceiling of decoding is the read bandwidth measured
in the same run over the bytes that one token reads: all matrices, of the experts 6 of 64, and the cache. The
caches of --depths are made up (filled_cache.py, llama_cpp_state.py).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from comparison import print_comparison
from report import argument_parser
from rounds import Measured, Reply, Rounds, engine_command, engine_side, peer_command, peer_side
from v2_lite_report import Run, balance_rows, experts, load_rows, speed_rows, speeds

from local_backend.store.paths import CACHE_DIR_VARIABLE, cache_dir

LAYERS = 27
PEERS = {"gguf": ("llama.cpp", "llama_cpp_peer.py"), "hf": ("transformers", "transformers_peer.py")}
LENGTHS = (512, 2048)
DEPTHS = (16, 4096, 8192, 32768)
DECODED = 32
PROMPT = 16  # computed before decoding at a depth
LOAD_CONTEXT = 4096


def main() -> None:
    options = parse_options()
    path = options.file or cache_dir() / "benchmarks" / default_name(options)
    if not path.exists():
        from v2_lite_files import write_folder, write_gguf
        from v2_lite_shape import model_config

        (write_gguf if options.format == "gguf" else write_folder)(path, model_config(options.layers))
    with packed_copies(path) as environment:
        os.environ |= environment
        run = measure(path, options)
    details = {"speeds": speeds(run, options.lengths, options.depths), "experts": experts(run)}
    print_comparison(
        f"V2-Lite shape, {path.name}",
        run.sides,
        [*load_rows(run), *speed_rows(run, options.lengths, options.depths), *balance_rows(experts(run))],
        threads=options.threads,
        warm_up=f"one uncounted round; {options.rounds} rounds count; reading: {run.rounds.how_read}",
        as_json=options.json,
        details=details,
    )
    if options.plot:
        from figures import draw

        for picture in draw(options.plot, details):
            print(picture, file=sys.stderr)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--file", type=Path, help="the checkpoint; written if it is not there")
    parser.add_argument("--format", choices=("gguf", "hf"), default="gguf")
    parser.add_argument("--layers", type=int, default=LAYERS, help=f"of a new file (default: {LAYERS})")
    parser.add_argument("--peer-python", help="interpreter that has llama_cpp, with --format hf transformers")
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--lengths", type=_numbers, default=list(LENGTHS), help="prompts to prefill (default: 512,2048)"
    )
    parser.add_argument(
        "--depths",
        type=_numbers,
        default=list(DEPTHS),
        help="to decode at, multiples of 16 (default: 16,4096,8192,32768)",
    )
    parser.add_argument("--decoded", type=int, default=DECODED, help=f"tokens (default: {DECODED})")
    parser.add_argument("--cache-dtype", default="auto", help="of our latents (default: auto)")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="write figures there")
    options = parser.parse_args()
    options.threads = options.threads or torch.get_num_threads()
    return options


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def default_name(options: argparse.Namespace) -> str:
    """Name a file by what decides its contents."""
    return f"v2-lite-{options.layers}" + (".gguf" if options.format == "gguf" else "-bf16")


@contextmanager
def packed_copies(path: Path) -> Iterator[dict[str, str]]:
    """Give the measured processes an empty cache directory beside the file, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="packed-", dir=path.parent))
    try:
        yield {CACHE_DIR_VARIABLE: str(folder)}
    finally:
        shutil.rmtree(folder)


def measure(path: Path, options: argparse.Namespace) -> Run:
    """Pack, load each engine by itself, load both, and let them take turns."""
    context = max(*options.lengths, max(options.depths) + PROMPT) + options.decoded + 64
    commands = {"ours": lambda size: our_command(path, options, size)}
    peer, script = PEERS[options.format]
    if options.peer_python:
        commands[peer] = lambda size: peer_command(options.peer_python, path, options.threads, size, script)
    with Measured(commands["ours"](LOAD_CONTEXT)) as engine:
        packing = engine.ready
    loads: dict[str, list[Reply]] = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            with Measured(command(LOAD_CONTEXT)) as engine:
                loads[name].append(engine.ready)
    engines = {name: Measured(command(context)) for name, command in commands.items()}
    sides = [
        engine_side(engine) if name == "ours" else peer_side(engine, name) for name, engine in engines.items()
    ]
    rounds = Rounds(engines, options.threads)
    rounds.take(options.rounds, lambda engine: one_round(engine, options))
    rounds.close()
    return Run(file_bytes=size_of(path), packing=packing, loads=loads, rounds=rounds, sides=sides, peer=peer)


def our_command(path: Path, options: argparse.Namespace, context: int) -> list[str]:
    """Command of our engine."""
    scheme = "int8" if options.format == "gguf" else "int4"
    return engine_command(
        path, options.threads, context, "--quantization", scheme, "--cache-dtype", options.cache_dtype
    )


def one_round(engine: Measured, options: argparse.Namespace) -> Reply:
    """Every prompt and every depth once; a depth no larger than a short prompt is computed."""
    reply: Reply = {"disk_faults": 0}
    for length in options.lengths:
        found = engine.ask(length, 1)
        reply[f"prefill {length}"] = found["prefill"]
        reply["disk_faults"] += found["disk_faults"]
    for depth in options.depths:
        found = engine.ask(PROMPT, options.decoded, 0 if depth <= PROMPT else depth)
        reply[f"decode {depth}"] = found["decode"]
        reply["disk_faults"] += found["disk_faults"]
    return reply | {"experts": found.get("experts", {}), "resident": found["resident"]}


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
