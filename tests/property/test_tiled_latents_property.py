"""Random writes to tiles of latents, native and by torch, against a dict of what was written."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from local_backend.cache.tiled_latents import TiledLatentPool
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_latents import NativeLatents
from local_backend.kernels.native_library import load_native

LIBRARY = load_native()
RANK, ROPE, NUM_SLOTS = 32, 16, 48
SLOTS = st.lists(st.integers(0, NUM_SLOTS - 1), min_size=1, max_size=6, unique=True)
SIZES = st.sampled_from([0.0, 1e-41, 1e-6, 1.0, 300.0, 1e30])
WRITES = st.lists(st.tuples(SLOTS, st.booleans(), st.integers(0, 2**31), SIZES), max_size=8)


@pytest.mark.skipif(LIBRARY is None, reason="the native kernels are not built")
@settings(deadline=None)
@given(writes=WRITES)
def test_every_slot_reads_as_its_last_write(writes: list[tuple[list[int], bool, int, float]]) -> None:
    assert LIBRARY is not None
    tiles = torch.full((NUM_SLOTS // 16, 16 * (RANK + ROPE + 8)), 255, dtype=torch.uint8)
    pool = TiledLatentPool([tiles], RANK, ROPE, 16, NUM_SLOTS)
    native = NativeLatents(NativeKernels(LIBRARY, 1), tiles, RANK, ROPE, 16)
    expected: dict[int, torch.Tensor] = {}
    for slots, natively, seed, size in writes:
        rows = torch.randn(len(slots), RANK + ROPE, generator=torch.Generator().manual_seed(seed)) * size
        index, parts = torch.tensor(slots), (rows[:, :RANK], rows[:, RANK:])
        if natively:
            native.write(index, *parts)
        else:
            pool.write(0, index, *parts)
        expected.update(zip(slots, rows, strict=True))
    if not expected:
        return
    index, rows = torch.tensor(list(expected)), torch.stack(list(expected.values()))
    read = native.read(index)
    assert torch.equal(read, pool.read(0, index))
    for part in (slice(0, RANK), slice(RANK, None)):
        step = rows[:, part].abs().amax(1, keepdim=True) / 127
        assert ((read[:, part] - rows[:, part]).abs() <= step * 0.501 + 2.0**-125).all()
