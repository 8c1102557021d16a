"""Choosing a token from logits: pure functions over numpy arrays, one row at a time.

Numpy rather than torch, because a row is too little work for torch's threads: waking them costs more than
the row does. Nothing sorts the whole vocabulary unless its distribution is nearly flat.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from local_backend.sampling_params import SamplingParams

__all__ = ["Floats", "Integers", "best_ids", "log_probabilities", "sample_row"]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

BLOCK = 512  # numbers whose sum or maximum stands for them
MIN_TEMPERATURE = 1e-5  # below it only ties are left to chance, and float32 would overflow
FIRST_SHARE = 2.0**-12  # a nucleus is looked for among tokens of this share of the mass first
BINS_PER_UNIT, LAST_BIN = 128, 4095  # of log probability; beyond e^-32 of the best, all are one bin


def sample_row(logits: Floats, params: SamplingParams, generator: np.random.Generator | None) -> int:
    """Temperature, then top-k, then top-p, then one draw; greedy takes the first of equals.

    Args:
        logits: (vocab_size,) float32; -inf forbids a token.
        params: What the request asked for.
        generator: Source of randomness; unused when greedy.
    """
    if params.greedy or generator is None:
        return int(logits.argmax())
    point = generator.random()
    if params.top_k:
        ids = best_ids(logits, params.top_k)
        weights = _weights(logits[ids], params.temperature)
        if params.top_p < 1:
            weights = weights[: _nucleus_size(weights, params.top_p * float(weights.sum()))]
        return int(ids[_draw(weights, point)])
    weights = _weights(logits, params.temperature)
    if params.top_p == 1:
        return _draw(weights, point)
    ids = _nucleus(weights, params.top_p)
    return int(ids[_draw(weights[ids], point)])


def log_probabilities(logits: Floats) -> Floats:
    """Return log softmax, (vocab_size,) float32."""
    shifted: Floats = logits - logits.max()
    shifted -= np.log(np.exp(shifted).sum(dtype=np.float64)).astype(np.float32)
    return shifted


def best_ids(values: Floats, count: int) -> Integers:
    """Return the ids of the `count` largest numbers, best first, the first of equals first.

    Fewer than `count` come back when there are fewer that are not -inf.
    """
    candidates = _at_least_the_best(values, count)
    order = np.argsort(-values[candidates], kind="stable")[:count]
    return candidates[order]


def _at_least_the_best(values: Floats, count: int) -> Integers:
    """Ids, ascending, that hold the `count` largest: all that reach the count-th best block's maximum."""
    size = len(values)
    starts = np.arange(0, size, BLOCK)
    if len(starts) <= count:
        if count >= size:
            return np.arange(size)
        return np.sort(np.argpartition(values, size - count)[size - count :])
    highest = np.maximum.reduceat(values, starts)
    floor = np.partition(highest, len(highest) - count)[len(highest) - count]
    return np.flatnonzero(values >= floor if floor > -np.inf else values > -np.inf)


def _weights(logits: Floats, temperature: float) -> Floats:
    """exp((logits - max) / temperature): probabilities but for their sum."""
    weights: Floats = logits - logits.max()
    if temperature != 1:
        weights *= np.float32(1 / max(temperature, MIN_TEMPERATURE))
    np.exp(weights, out=weights)
    return weights


def _nucleus(weights: Floats, top_p: float) -> Integers:
    """Ids of the shortest list of best tokens whose share of the mass reaches top_p, in no certain order."""
    total = float(weights.sum())
    wanted = top_p * total
    ids = np.flatnonzero(weights >= np.float32(FIRST_SHARE * total))
    if float(weights[ids].sum(dtype=np.float64)) < wanted:
        return _wide_nucleus(weights, wanted)
    ids = ids[np.argsort(-weights[ids], kind="stable")]
    return ids[: _nucleus_size(weights[ids], wanted)]


def _wide_nucleus(weights: Floats, wanted: float) -> Integers:
    """As _nucleus; a histogram finds where the list ends, so that only one bin of it is sorted."""
    with np.errstate(divide="ignore"):
        depth = np.log(weights) * np.float32(-BINS_PER_UNIT)  # of the best, 0
    bins = np.minimum(depth, LAST_BIN, out=depth).astype(np.int32)
    masses = np.bincount(bins, weights=weights, minlength=LAST_BIN + 1).cumsum()
    last = min(int(np.searchsorted(masses, wanted)), LAST_BIN)
    ids = np.flatnonzero(bins == last)
    ids = ids[np.argsort(-weights[ids], kind="stable")]
    before = float(masses[last - 1]) if last else 0.0
    kept = ids[: _nucleus_size(weights[ids], wanted - before)]
    return np.concatenate((np.flatnonzero(bins < last), kept))


def _nucleus_size(weights: Floats, wanted: float) -> int:
    """How many of the weights, best first, to keep: those before which the mass has not reached `wanted`."""
    before = np.cumsum(weights, dtype=np.float64) - weights
    return max(1, int(np.searchsorted(before, wanted, side="left")))


def _draw(weights: Floats, point: float) -> int:
    """Index into the weights at a share `point`, in [0, 1), of their sum; never one that weighs nothing."""
    if len(weights) <= BLOCK:
        sums = weights.cumsum(dtype=np.float64)
        return _at(weights, sums, point * float(sums[-1]))
    blocks = np.add.reduceat(weights, np.arange(0, len(weights), BLOCK))
    sums = blocks.cumsum(dtype=np.float64)
    target = point * float(sums[-1])
    block = _at(blocks, sums, target)
    inside = weights[block * BLOCK : (block + 1) * BLOCK]
    left = target - (float(sums[block - 1]) if block else 0.0)
    return block * BLOCK + _at(inside, inside.cumsum(dtype=np.float64), left)


def _at(weights: Floats, sums: NDArray[np.float64], target: float) -> int:
    index = int(np.searchsorted(sums, target, side="right"))
    # Past the end by a rounding error: the last that can be drawn at all.
    return index if index < len(weights) else int(np.flatnonzero(weights)[-1])
