"""Native grouped-query attention against float64 over what the cache holds, by instruction set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from local_backend.cache.tiled_pool import TiledKVPool
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_batch import BlockTable, NativeBatch
from local_backend.kernels.native_key_values import NativeKeyValues
from local_backend.kernels.native_library import load_native

LIBRARY = load_native()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the native kernels are not built")
ISAS = pytest.mark.parametrize("isa", LIBRARY.isas if LIBRARY else ["none"])
ROUNDING = 0.008  # queries and weights may be bfloat16 on the way, relative to a row's output


def kernels_of(isa: str, num_threads: int = 2) -> NativeKernels:
    assert LIBRARY is not None
    return NativeKernels(LIBRARY, num_threads, isa)


class KeyValues:
    """A pool of one layer with shuffled blocks that hold noise, and its native view."""

    def __init__(
        self, kernels: NativeKernels, num_kv_heads: int, head_dim: int, num_blocks: int, block_size: int = 16
    ):
        torch.manual_seed(0)
        shape = (num_blocks * block_size // 16, num_kv_heads, 2, 16 * head_dim)
        self.pool = TiledKVPool(
            [torch.randn(shape, dtype=torch.bfloat16) * 9], block_size, num_blocks * block_size
        )
        self.native = NativeKeyValues(kernels, self.pool.tiles[0], head_dim, block_size)
        self.free = torch.randperm(num_blocks).tolist()
        self.heads = (num_kv_heads, head_dim)

    def sequence(self, num_rows: int, context_len: int) -> tuple[BlockTable, Tensor]:
        """Write random positions into blocks that were free; return their table and slots."""
        size = self.pool.block_size
        blocks = [self.free.pop() for _ in range(-(-context_len // size))]
        slots = (torch.tensor(blocks)[:, None] * size + torch.arange(size)).flatten()[:context_len]
        self.native.write(slots, torch.randn(context_len, *self.heads), torch.randn(context_len, *self.heads))
        return BlockTable(blocks, num_rows, context_len), slots


def exact(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Causal attention of the last rows, float64 (num_rows, num_heads, head_dim)."""
    num_rows, context_len, group = len(query), len(key), query.shape[1] // key.shape[1]
    key, value = (part.double().repeat_interleave(group, dim=1) for part in (key, value))
    scores = torch.einsum("nhd,chd->nhc", query.double(), key) * scale
    own = torch.arange(context_len - num_rows, context_len)
    scores.masked_fill_((torch.arange(context_len) > own[:, None])[:, None], -torch.inf)
    return torch.einsum("nhc,chd->nhd", scores.softmax(-1), value)


def largest_error(
    cache: KeyValues, num_heads: int, shapes: list[tuple[int, int]], spread: float = 1.0
) -> float:
    """Largest relative error of a row, for sequences of (num_rows, context_len)."""
    written = [cache.sequence(*shape) for shape in shapes]
    head_dim = cache.heads[1]
    queries = [torch.randn(rows, num_heads, head_dim) * spread for rows, _ in shapes]
    batch = NativeBatch(torch.empty(0), torch.empty(0, dtype=torch.int64), [table for table, _ in written])
    got = cache.native.attend(torch.cat(queries), batch, head_dim**-0.5).double()
    want = torch.cat(
        [
            exact(query, *cache.pool.read(0, slots), head_dim**-0.5)
            for query, (_, slots) in zip(queries, written, strict=True)
        ]
    )
    return float(((got - want).norm(dim=-1) / want.norm(dim=-1)).max())


@ISAS
@pytest.mark.parametrize("context_len", [1, 15, 16, 17, 100, 257, 1000])
def test_one_row_sees_its_whole_context(isa: str, context_len: int) -> None:
    assert largest_error(KeyValues(kernels_of(isa), 2, 64, 70), 12, [(1, context_len)]) < ROUNDING


@ISAS
@pytest.mark.parametrize("num_rows", [2, 8, 9, 45, 130])
def test_a_prompt_attends_to_itself_and_to_what_is_cached(isa: str, num_rows: int) -> None:
    for context_len in (num_rows, num_rows + 37):
        assert largest_error(KeyValues(kernels_of(isa), 2, 32, 20), 6, [(num_rows, context_len)]) < ROUNDING


@ISAS
@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(1, 1), (7, 1), (8, 8), (12, 2), (32, 4)])
@pytest.mark.parametrize("head_dim", [32, 96, 128, 256])
def test_heads_of_every_size(isa: str, num_heads: int, num_kv_heads: int, head_dim: int) -> None:
    cache = KeyValues(kernels_of(isa), num_kv_heads, head_dim, 12)
    assert largest_error(cache, num_heads, [(1, 60), (20, 60)]) < ROUNDING


@ISAS
@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_a_batch_of_sequences_in_larger_blocks(isa: str, num_threads: int) -> None:
    cache = KeyValues(kernels_of(isa, num_threads), 3, 64, 80, block_size=32)
    assert largest_error(cache, 6, [(1, 1000), (5, 33), (20, 20), (2, 300), (64, 400)]) < ROUNDING


@ISAS
@pytest.mark.parametrize("spread", [0.0, 0.1, 4.0])
def test_flat_and_peaked_attention(isa: str, spread: float) -> None:
    cache = KeyValues(kernels_of(isa), 2, 64, 70)
    assert largest_error(cache, 4, [(1, 500), (30, 500)], spread) < ROUNDING * max(1.0, spread)


@ISAS
def test_native_and_torch_write_and_read_the_same_tiles(isa: str) -> None:
    cache = KeyValues(kernels_of(isa), 2, 64, 4)
    slots, key, value = torch.tensor([0, 17, 63, 5]), torch.randn(4, 2, 64), torch.randn(4, 2, 64)
    cache.native.write(slots, key, value)
    ours = cache.pool.tiles[0].clone()
    cache.pool.write(0, slots, key, value)
    assert torch.equal(ours, cache.pool.tiles[0])
    for native, torchs in zip(cache.native.read(slots), cache.pool.read(0, slots), strict=True):
        assert torch.equal(native, torchs.float())
