"""Measure engines beside each other: each in a process of its own, by turns, and the memory's bandwidth.

Nobody runs while another is measured, and figures of one round are minutes apart at most, so what else
happens on the machine hits both alike. A measured process prints one line of JSON when it is ready and one
for every line it reads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bandwidth import measure_bandwidth
from comparison import Side

FOLDER = Path(__file__).parent
Reply = dict[str, Any]


class Measured:
    """A process that answers requests, here [prompt tokens, decoded tokens, depth] by two rates.

    Attributes:
        command: How it was started.
        ready: What it said when it was loaded; "start" is the time from starting it to its first token.

    Raises:
        SystemExit: It ended early; its own message is on stderr.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        start = time.perf_counter()
        # Each settles its threads for itself; a peer keeps its own defaults.
        environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.ready = self._reply()
        self.ready["start"] = time.perf_counter() - start

    def __enter__(self) -> Measured:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, prompt: int, decoded: int, depth: int = 0) -> Reply:
        """Prefill and decode so many tokens after a cache of so many made-up positions.

        Returns:
            At least "prefill" and "decode", in tokens/s.
        """
        assert self._process.stdin
        self._process.stdin.write(json.dumps([prompt, decoded, depth]) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def close(self) -> None:
        """Let the process end."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def _reply(self) -> Reply:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a measured process ended early: {self._process.args!r}")
        reply: Reply = json.loads(line)
        return reply


def engine_command(model: Path, threads: int, context: int, *options: str) -> list[str]:
    """Command of our engine (engine_worker.py)."""
    return [
        sys.executable,
        str(FOLDER / "engine_worker.py"),
        str(model),
        str(threads),
        str(context),
        *options,
    ]


def peer_command(
    python: str, model: Path, threads: int, context: int, script: str = "llama_cpp_peer.py"
) -> list[str]:
    """Command of a peer under an interpreter that has it."""
    return [python, str(FOLDER / script), str(model), str(threads), str(context)]


def bits_per_weight(about: Reply) -> str:
    """Return bytes of all weights over their number, in words."""
    bits = 8 * about["packed"] / about["parameters"]
    return f"{bits:.2f} ({about['packed'] / 1e9:.2f} GB, {about['parameters'] / 1e9:.2f} G weights)"


def engine_side(engine: Measured) -> Side:
    """Describe our engine."""
    about = engine.ready
    facts = {
        "kernels": str(about["kernels"]),
        "bits per weight": bits_per_weight(about),
        "read per token": f"{about['per_token'] / 1e6:.0f} MB",
        "cache per position": f"{about['per_position'] / 1e3:.1f} kB",
    }
    return Side(name="ours", command=engine.command, about=facts)


def peer_side(engine: Measured, name: str = "llama.cpp") -> Side:
    """Describe a peer."""
    return Side(name=name, command=engine.command, about={"bits per weight": bits_per_weight(engine.ready)})


class Rounds:
    """Turns of several engines, and the read bandwidth before every round.

    Attributes:
        engines: By name; "ours" must be there.
        replies: By name, one per round.
        bandwidth: Bytes/s, one per round.
        how_read: The access pattern that read fastest.
    """

    def __init__(self, engines: Mapping[str, Measured], threads: int) -> None:
        self.engines = engines
        self.replies: dict[str, list[Reply]] = {name: [] for name in engines}
        self.bandwidth: list[float] = []
        self.how_read = ""
        self._threads = threads

    def take(self, count: int, measure: Callable[[Measured], Reply]) -> None:
        """Let every engine be measured so many times, by turns, after one time that does not count."""
        for engine in self.engines.values():
            measure(engine)
        for _ in range(count):
            found = measure_bandwidth(self._threads)
            self.bandwidth.append(found.bytes_per_second)
            self.how_read = found.how
            for name, engine in self.engines.items():
                self.replies[name].append(measure(engine))

    def numbers(self, name: str, key: str) -> list[float]:
        """Return an engine's number of every round; nothing for an engine that is not there."""
        return [reply[key] for reply in self.replies.get(name, [])]

    def ceiling(self, depth: int) -> list[float]:
        """Return the tokens/s that reading alone allows us at this depth, round by round."""
        about = self.engines["ours"].ready
        return [rate / (about["per_token"] + depth * about["per_position"]) for rate in self.bandwidth]

    def close(self) -> None:
        """Let all engines end."""
        for engine in self.engines.values():
            engine.close()
