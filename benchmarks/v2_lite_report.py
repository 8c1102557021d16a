"""Turn what v2_lite.py measured into rows: loading, memory, speeds with their bars, use of the experts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from comparison import Row, Side
from rounds import Reply, Rounds

BARS = {  # times the peer
    "llama.cpp": {
        "prefill": {512: 3.0, 2048: 5.0},
        "decode": {16: 1.2, 4096: 2.0, 8192: 3.0, 32768: 8.0},
    },
    "transformers": {"prefill": {2048: 1.5, 8192: 1.5}, "decode": {2048: 10.0, 8192: 10.0}},
}
FIRST_TOKEN_BAR, MEMORY_BAR = 3.0, 9.5  # seconds, GB, for all 27 layers
NOTABLE_FAULTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that was measured.

    Attributes:
        file_bytes: Size of the checkpoint.
        packing: What the process said that packed the weights and made one token.
        loads: By engine, what each process said that loaded it alone, its packed copy there.
        rounds: Rates, by "prefill N" and "decode N".
        sides: How both were run.
        peer: Name of the other engine, whether or not it was measured.
    """

    file_bytes: int
    packing: Reply
    loads: dict[str, list[Reply]]
    rounds: Rounds
    sides: Sequence[Side]
    peer: str


def load_rows(run: Run) -> list[Row]:
    """Load times to the first token, and peak memory; mapped pages of the packed file count as resident."""
    ours, packing = run.loads["ours"], run.packing
    packed = f"{packing['packed'] / 1e9:.2f} GB packed of {run.file_bytes / 1e9:.2f}"
    return [
        Row(work="first load, packs", ours=[packing["seconds"]], unit="s", note=packed),
        Row(
            work="first load: peak memory", ours=[packing["resident"] / 1e9], unit="GB", note=parts([packing])
        ),
        Row(
            work="packed copy to first token",
            ours=[reply["seconds"] for reply in ours],
            peer=[reply["seconds"] for reply in run.loads.get(run.peer, [])],
            unit="s",
            bar=FIRST_TOKEN_BAR,
            note=f"with Python's start {statistics.median(reply['start'] for reply in ours):.1f} s",
        ),
        Row(
            work="loaded: peak memory",
            ours=[reply["resident"] / 1e9 for reply in ours],
            peer=[reply["resident"] / 1e9 for reply in run.loads.get(run.peer, [])],
            unit="GB",
            bar=MEMORY_BAR,
            note="; ".join(f"{name} {parts(replies)}" for name, replies in run.loads.items()),
        ),
        Row(
            work="after all that follows: peak memory",
            ours=[max(run.rounds.numbers("ours", "resident")) / 1e9],
            peer=[max(found) / 1e9] if (found := run.rounds.numbers(run.peer, "resident")) else [],
            unit="GB",
            note="with the deepest cache",
        ),
    ]


def parts(replies: Sequence[Reply]) -> str:
    """Say how much of the memory the system could not drop."""
    return f"{statistics.median(reply['anonymous'] for reply in replies) / 1e9:.2f} GB not pages of files"


def speed_rows(run: Run, lengths: Sequence[int], depths: Sequence[int]) -> list[Row]:
    """Rates of both engines with the bars of the shape."""
    rounds, bars = run.rounds, BARS[run.peer]
    work = [("prefill", length, bars["prefill"].get(length)) for length in lengths]
    work += [("decode", depth, bars["decode"].get(depth)) for depth in depths]
    return [
        Row(
            work=f"{phase} {tokens} tokens" if phase == "prefill" else f"decode at {tokens}",
            ours=rounds.numbers("ours", f"{phase} {tokens}"),
            peer=rounds.numbers(run.peer, f"{phase} {tokens}"),
            bar=bar,
            ceiling=rounds.ceiling(tokens) if phase == "decode" else (),
            note=disturbance(run),
        )
        for phase, tokens, bar in work
    ]


def disturbance(run: Run) -> str:
    """Say so when pages had to come from the disk while something was measured."""
    faults = sum(sum(run.rounds.numbers(name, "disk_faults")) for name in run.rounds.replies)
    return f"disturbed: {faults:.0f} pages came from disk" if faults >= NOTABLE_FAULTS else ""


def speeds(run: Run, lengths: Sequence[int], depths: Sequence[int]) -> list[Reply]:
    """Return the medians for figures.py."""
    found = []
    for row, tokens in zip(speed_rows(run, lengths, depths), [*lengths, *depths], strict=True):
        speed: Reply = {"phase": row.work.split()[0], "tokens": tokens, "ours": statistics.median(row.ours)}
        if row.peer:
            speed |= {run.peer: statistics.median(row.peer), "ratio": row.ratio}
        if row.ceiling:
            speed["ceiling"] = statistics.median(row.ceiling)
        found.append(speed)
    return found


def experts(run: Run) -> dict[str, list[int]]:
    """How often each expert of each layer was chosen, over the whole run."""
    counts: dict[str, list[int]] = run.rounds.replies["ours"][-1]["experts"]
    return counts


def balance_rows(counts: dict[str, list[int]]) -> list[Row]:
    """How evenly the experts were used; of a random gate it says that all are reached, no more."""
    factors = [max(layer) / statistics.fmean(layer) for layer in counts.values()]
    if not factors:
        return []
    return [
        Row(
            work="busiest expert over the mean",
            ours=[statistics.fmean(factors)],
            unit="",
            note=f"mean over {len(factors)} layers, worst {max(factors):.2f}",
        )
    ]
