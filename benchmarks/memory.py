"""Peak resident memory of the embedded engine: a full 4K context that is then decoded from, and packing.

Each number is the peak of a fresh process (getrusage), so Python, torch and the memory-mapped weights are in
it. Packing happens once per model and processor; here it is done into a scratch cache directory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from report import Measurement, argument_parser, print_report

BAR_GB = 2.5
CONTEXT = 4096
DECODED = 64


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="starter", help="local model (default: starter)")
    parser.add_argument("--no-packing", action="store_true", help="leave the packing run out")
    parser.add_argument("--child", choices=("context", "packing"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_child(options.child, options.model)))
        return

    from local_backend.store.catalog import resolve_model

    path = str(resolve_model(options.model))
    context = measure("context", options.model)
    rows = [
        Measurement(
            name=f"{CONTEXT}-token context",
            value=context["gigabytes"],
            unit="GB",
            limit=BAR_GB,
            note=f"{options.model}; {context['file_gigabytes']:.2f} GB of it is the mapped weight file; "
            f"{context['seconds']:.0f} s",
        )
    ]
    if not options.no_packing:
        with tempfile.TemporaryDirectory(prefix="deepseek-apps-memory-") as scratch:
            packing = measure("packing", path, cache_dir=scratch)
        rows.append(
            Measurement(
                name="packing",
                value=packing["gigabytes"],
                unit="GB",
                limit=BAR_GB,
                note=f"once per model; {packing['seconds']:.0f} s",
            )
        )
    print_report("peak memory", rows, as_json=options.json)


def measure(kind: str, model: str, cache_dir: str | None = None) -> dict[str, float]:
    """Run one kind of load in a process of its own."""
    environment = os.environ | ({"DEEPSEEK_APPS_CACHE_DIR": cache_dir} if cache_dir else {})
    command = [sys.executable, __file__, "--child", kind, "--model", model]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def run_child(kind: str, model: str) -> dict[str, float]:
    """Load the model, fill its context if asked to, and return what that took."""
    import resource

    from local_backend.config import EngineConfig
    from local_backend.local_engine import LocalEngine
    from local_backend.sampling_params import SamplingParams

    start = time.perf_counter()
    engine = LocalEngine.load(model, EngineConfig(max_model_len=CONTEXT))
    try:
        if kind == "context":
            prompt = [token_id % 1000 + 100 for token_id in range(CONTEXT - DECODED)]
            for _ in engine.submit(prompt, SamplingParams(temperature=0, max_tokens=DECODED)):
                pass
    finally:
        engine.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "gigabytes": peak / 1e9,
        "file_gigabytes": file_backed_bytes() / 1e9,
        "seconds": time.perf_counter() - start,
    }


def file_backed_bytes() -> int:
    """Return the resident bytes that are pages of files, 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssFile"))
    except (OSError, StopIteration):
        return 0


if __name__ == "__main__":
    main()
