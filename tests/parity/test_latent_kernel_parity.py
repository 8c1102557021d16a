"""Native latent attention against float64 over what the cache holds, for each usable instruction set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from local_backend.architecture import MLAConfig
from local_backend.cache.tiled_latents import TiledLatentPool
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_batch import BlockTable, NativeBatch
from local_backend.kernels.native_latents import NativeLatents
from local_backend.kernels.native_library import load_native

LIBRARY = load_native()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the native kernels are not built")
ISAS = pytest.mark.parametrize("isa", LIBRARY.isas if LIBRARY else ["none"])
ROUNDING = 0.02  # queries of 8 bits and weights of 8 bits, relative to a row's output


def kernels_of(isa: str, num_threads: int = 2) -> NativeKernels:
    assert LIBRARY is not None
    return NativeKernels(LIBRARY, num_threads, isa)


class Latents:
    """A pool of one layer with shuffled blocks, and its native view."""

    def __init__(self, kernels: NativeKernels, rank: int, rope: int, num_blocks: int, block_size: int = 16):
        torch.manual_seed(0)
        self.mla = MLAConfig(kv_lora_rank=rank, qk_nope_head_dim=16, qk_rope_head_dim=rope, v_head_dim=16)
        tiles = torch.randint(256, (num_blocks * block_size // 16, 16 * (rank + rope + 8)), dtype=torch.uint8)
        self.pool = TiledLatentPool([tiles], rank, rope, block_size, num_blocks * block_size)
        self.native = NativeLatents(kernels, tiles, rank, rope, block_size)
        self.free = torch.randperm(num_blocks).tolist()

    def sequence(self, num_rows: int, context_len: int) -> tuple[BlockTable, Tensor]:
        """Write random positions into blocks that were free; return their table and slots."""
        size = self.pool.block_size
        blocks = [self.free.pop() for _ in range(-(-context_len // size))]
        slots = (torch.tensor(blocks)[:, None] * size + torch.arange(size)).flatten()[:context_len]
        rope = self.mla.qk_rope_head_dim
        self.native.write(
            slots, torch.randn(context_len, self.mla.kv_lora_rank), 3 * torch.randn(context_len, rope)
        )
        return BlockTable(blocks, num_rows, context_len), slots


def exact(query: Tensor, latents: Tensor, rank: int, scale: float) -> Tensor:
    """Causal attention of the last rows, float64 (num_rows, num_heads, rank)."""
    num_rows, context_len = len(query), len(latents)
    scores = torch.einsum("nhw,cw->nhc", query.double(), latents.double()) * scale
    own = torch.arange(context_len - num_rows, context_len)
    scores.masked_fill_((torch.arange(context_len) > own[:, None])[:, None], -torch.inf)
    return torch.einsum("nhc,cr->nhr", scores.softmax(-1), latents[:, :rank].double())


def largest_error(latents: Latents, num_heads: int, shapes: list[tuple[int, int]], spread: float) -> float:
    """Largest relative error of a row, for sequences of (num_rows, context_len).

    Args:
        latents: With room for the sequences.
        num_heads: Of the queries.
        shapes: Of the sequences.
        spread: Standard deviation of scores.
    """
    rank, rope = latents.mla.kv_lora_rank, latents.mla.qk_rope_head_dim
    scale = spread * (rank + 9 * rope) ** -0.5
    written = [latents.sequence(*shape) for shape in shapes]
    queries = [torch.randn(num_rows, num_heads, rank + rope) for num_rows, _ in shapes]
    tables = [table for table, _ in written]
    batch = NativeBatch(torch.empty(0), torch.empty(0, dtype=torch.int64), tables)
    got = latents.native.attend(torch.cat(queries), batch, scale).double()
    want = torch.cat(
        [
            exact(query, latents.pool.read(0, slots), rank, scale)
            for query, (_, slots) in zip(queries, written, strict=True)
        ]
    )
    return float(((got - want).norm(dim=-1) / want.norm(dim=-1)).max())


@ISAS
@pytest.mark.parametrize("context_len", [1, 15, 16, 17, 100, 257, 1000])
def test_one_row_sees_its_whole_context(isa: str, context_len: int) -> None:
    latents = Latents(kernels_of(isa), 32, 16, 70)
    assert largest_error(latents, 4, [(1, context_len)], 1.0) < ROUNDING


@ISAS
@pytest.mark.parametrize("num_heads", [1, 4, 5, 16, 128])
def test_any_number_of_heads(isa: str, num_heads: int) -> None:
    latents = Latents(kernels_of(isa), 64, 32, 40)
    assert largest_error(latents, num_heads, [(1, 300)], 1.0) < ROUNDING


@ISAS
@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_a_batch_of_sequences_is_causal(isa: str, num_threads: int) -> None:
    latents = Latents(kernels_of(isa, num_threads), 48, 16, 80, block_size=32)
    shapes = [(1, 1000), (5, 33), (20, 20), (2, 300)]
    assert largest_error(latents, 6, shapes, 1.0) < ROUNDING


@ISAS
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0, 10.0])
def test_flat_and_peaked_attention(isa: str, spread: float) -> None:
    """A row that looks at one position carries the rounding of its score: so does every 8-bit query."""
    latents = Latents(kernels_of(isa), 512, 64, 70)
    assert largest_error(latents, 16, [(1, 1000)], spread) < ROUNDING * max(1.0, spread)


@ISAS
def test_small_weights_are_not_lost_beside_a_large_one(isa: str) -> None:
    """One position weighs as much as 1,000 others together, each less than a byte's step of it."""
    rank, context_len = 32, 1001
    latents = Latents(kernels_of(isa), rank, 16, 63)
    table, slots = latents.sequence(1, context_len)
    kv_latent, k_pe = torch.zeros(context_len, rank), torch.zeros(context_len, 16)
    kv_latent[0, 0] = kv_latent[1:, 1] = 1.0
    k_pe[0, 0] = 1.0
    latents.native.write(slots, kv_latent, k_pe)
    query = torch.zeros(1, 1, rank + 16)
    query[..., rank] = torch.tensor(1000.0).log()
    batch = NativeBatch(torch.empty(0), torch.empty(0, dtype=torch.int64), [table])
    out = latents.native.attend(query, batch, 1.0)[0, 0]
    torch.testing.assert_close(out[:2], torch.tensor([0.5, 0.5]), atol=0.006, rtol=0)


@ISAS
def test_native_and_torch_write_the_same_tiles(isa: str) -> None:
    latents = Latents(kernels_of(isa), 64, 32, 4)
    slots, kv_latent, k_pe = torch.tensor([0, 17, 63, 5]), torch.randn(4, 64), torch.randn(4, 32)
    kv_latent[2] = 0.0
    latents.native.write(slots, kv_latent, k_pe)
    mine = latents.pool.tiles[0].clone()
    latents.pool.write(0, slots, kv_latent, k_pe)
    assert torch.equal(mine, latents.pool.tiles[0])
    assert torch.equal(latents.native.read(slots), latents.pool.read(0, slots))


@ISAS
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_reads_as_nan(isa: str, bad: float) -> None:
    latents = Latents(kernels_of(isa), 32, 16, 1)
    kv_latent = torch.ones(2, 32)
    kv_latent[0, 20] = bad
    latents.native.write(torch.tensor([3, 4]), kv_latent, torch.ones(2, 16))
    read = latents.native.read(torch.tensor([3, 4]))
    assert read[0, :32].isnan().all()
    assert not read[0, 32:].isnan().any()
    assert not read[1].isnan().any()
