"""How long one waits: the first token of a warm `deepseek-apps ask`, `--help`, and `import deepseek_apps`.

Each is a fresh process; the median of several is shown. Warm means that the model is pulled and packed and
its file is in the page cache: one run that is not measured sees to that.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from report import Measurement, argument_parser, print_report

COMMAND = str(Path(sys.executable).with_name("deepseek-apps"))
HEAVY = ("torch", "langchain", "langchain_core", "langchain_openai", "openai", "local_backend")
FIRST_TOKEN_BAR = 3.0
HELP_BAR = 0.3


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="processes per number (default: 5)")
    parser.add_argument("--model", default="starter", help="local model (default: starter)")
    options = parser.parse_args()

    ask = [COMMAND, "ask", "--backend", "local", "--model", options.model, "--max-tokens", "8", "Say hello."]
    bare = [sys.executable, "-c", "pass"]
    importing = [sys.executable, "-c", "import deepseek_apps"]
    seconds_to_first_byte(ask)
    loaded = heavy_modules()
    rows = [
        Measurement(
            name="ask: first token, warm",
            value=median(lambda: seconds_to_first_byte(ask), options.runs),
            unit="s",
            limit=FIRST_TOKEN_BAR,
            note=options.model,
        ),
        Measurement(
            name="--help",
            value=median(lambda: seconds([COMMAND, "--help"]), options.runs),
            unit="s",
            limit=HELP_BAR,
        ),
        Measurement(
            name="import deepseek_apps",
            value=median(lambda: seconds(importing), options.runs),
            unit="s",
            note=f"loads {', '.join(loaded) or 'no torch, LangChain, SDK or engine'}",
        ),
        Measurement(
            name="python -c pass", value=median(lambda: seconds(bare), options.runs), unit="s", note="floor"
        ),
    ]
    print_report("start-up", rows, as_json=options.json)


def median(measure: Callable[[], float], runs: int) -> float:
    """Return the median of several runs."""
    return statistics.median(measure() for _ in range(runs))


def seconds(command: list[str]) -> float:
    """Return the wall time of a process, its start included."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def seconds_to_first_byte(command: list[str]) -> float:
    """Return the time from starting a process to the first byte on its stdout."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        elapsed = time.perf_counter() - start
        _, errors = process.communicate()
    if process.returncode or not first:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors.decode(errors='replace')}")
    return elapsed


def heavy_modules() -> list[str]:
    """Return which of the heavy packages `import deepseek_apps` loads; none is right."""
    program = f"import deepseek_apps, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return done.stdout.split()


if __name__ == "__main__":
    main()
