"""How many tokens of each sequence's draft are worth verifying; a pure decision."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["draft_lengths"]

MIN_GAIN = 1.04  # over decoding without drafts; less is within the error of what is known


def draft_lengths(
    chances: list[list[float]], cost: Callable[[int], float], *, max_rows: int, min_gain: float = MIN_GAIN
) -> list[int]:
    """Choose how many drafted tokens of each sequence to run, for most tokens per second.

    Args:
        chances: Per decoding sequence the chances that its first, first two, ... drafted tokens all come
            true; each not above the one before. Their sum is what the drafts are expected to yield.
        cost: Of a pass with so many rows; one row per sequence is what plain decoding runs.
        max_rows: Rows of the pass, at most.
        min_gain: Only drafts that raise the rate by this factor are run.

    Returns:
        A number per sequence, all 0 when nothing pays.
    """
    plain = len(chances)
    # Sorted by chance, the first n positions are the best n, and prefixes of each draft.
    ranked = sorted(
        (-chance, place, seq) for seq, row in enumerate(chances) for place, chance in enumerate(row)
    )
    expected = float(plain)
    best, best_rate = 0, min_gain * expected / cost(plain)
    for taken, (negative, _, _) in enumerate(ranked[: max(0, max_rows - plain)], start=1):
        expected -= negative
        rate = expected / cost(plain + taken)
        if rate > best_rate:
            best, best_rate = taken, rate
    lengths = [0] * plain
    for _, _, seq in ranked[:best]:
        lengths[seq] += 1
    return lengths
