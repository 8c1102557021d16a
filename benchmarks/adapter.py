"""What ChatDeepSeek itself costs: processor time per call and per streamed token, beside langchain-deepseek.

Both talk to the same loopback server, a process of its own that sends bytes prepared beforehand: what is
counted is the adapter, the SDK and the HTTP client under it. The two take turns; the median of the rounds is
shown. It is the client's processor time, which other load on the machine disturbs less than wall time.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from report import Measurement, argument_parser, print_report

QUESTION = [("system", "You are terse."), ("human", "Why is the sky blue?")]
SERVER = Path(__file__).with_name("adapter_server.py")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns per model (default: 15)")
    parser.add_argument("--calls", type=int, default=20, help="calls per turn (default: 20)")
    parser.add_argument("--tokens", type=int, default=1000, help="tokens per stream (default: 1000)")
    options = parser.parse_args()
    command = [sys.executable, str(SERVER), str(options.tokens)]
    with (
        tempfile.TemporaryDirectory() as state,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        os.environ["DEEPSEEK_APPS_STATE_DIR"] = state
        try:
            assert server.stdout is not None
            rows = measure(f"http://127.0.0.1:{server.stdout.readline().strip()}", options)
        finally:
            server.terminate()
    print_report("adapter overhead", rows, as_json=options.json)


def measure(url: str, options: Any) -> list[Measurement]:
    """Return a row per way of calling; the limit is what langchain-deepseek takes."""
    ours, theirs = chat_models(url)
    works: dict[str, tuple[Callable[[Any], None], int, str]] = {
        "invoke, per call": (lambda model: calls(model, options.calls), options.calls, "a call"),
        "ainvoke, per call": (lambda model: async_calls(model, options.calls), options.calls, "a call"),
        "stream, per token": (streamed, options.tokens, "a token"),
        "astream, per token": (async_streamed, options.tokens, "a token"),
    }
    rows = []
    for name, (work, count, unit) in works.items():
        mine, other = in_turns(lambda work=work: work(ours), lambda work=work: work(theirs), options.rounds)
        rows.append(
            Measurement(
                name=name,
                value=mine / count * 1e6,
                unit=f"us {unit}",
                limit=other / count * 1e6,
                note="limit: langchain-deepseek",
            )
        )
    return rows


def chat_models(url: str) -> tuple[Any, Any]:
    """Return ours and langchain-deepseek's, for the same server."""
    from langchain_deepseek import ChatDeepSeek as Theirs

    from deepseek_apps import ChatDeepSeek

    common = {"model": "deepseek-flash", "api_key": "sk-none", "base_url": url}
    return ChatDeepSeek(backend="hosted", **common), Theirs(**common, stream_usage=True)


def in_turns(first: Callable[[], None], second: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Return the median processor seconds of each, measured by turns after one run that is not counted."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, kept in zip((first, second), times, strict=True):
            start = time.process_time()
            work()
            kept.append(time.process_time() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def calls(model: Any, count: int) -> None:
    """Ask a few times."""
    for _ in range(count):
        assert model.invoke(QUESTION).content


def streamed(model: Any) -> None:
    """Ask once and read the stream."""
    assert sum(len(chunk.content) for chunk in model.stream(QUESTION))


def async_calls(model: Any, count: int) -> None:
    """Ask a few times, asynchronously; one loop per turn, as a program has."""

    async def ask() -> None:
        for _ in range(count):
            assert (await model.ainvoke(QUESTION)).content

    LOOP.run_until_complete(ask())


def async_streamed(model: Any) -> None:
    """Ask once and read the stream, asynchronously."""

    async def ask() -> None:
        assert sum([len(chunk.content) async for chunk in model.astream(QUESTION)])

    LOOP.run_until_complete(ask())


LOOP = asyncio.new_event_loop()

if __name__ == "__main__":
    main()
