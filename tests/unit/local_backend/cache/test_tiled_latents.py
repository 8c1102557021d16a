"""Latents in tiles: what is written is read, positions keep to themselves, and who may have them."""

from __future__ import annotations

import pytest
import torch
from test_pool_sizing import latent_shape

from local_backend.cache.tiled_latents import TiledLatentPool
from local_backend.config import CacheDtype, EngineConfig
from local_backend.errors import ConfigError

KV_BYTES = 1 << 20


def small_pool(block_size: int = 16) -> TiledLatentPool:
    engine = EngineConfig(max_kv_bytes=KV_BYTES, block_size=block_size)
    return TiledLatentPool.allocate(latent_shape(64, num_hidden_layers=2), engine)


@pytest.mark.parametrize("slots", [(3, 8), (14, 19), torch.tensor([9, 2, 40, 5, 31])])
def test_what_is_written_is_read(slots: tuple[int, int] | torch.Tensor) -> None:
    pool, latent, k_pe = small_pool(), torch.randn(5, 64), torch.randn(5, 64) * 30
    pool.write(1, slots, latent, k_pe)
    read = pool.read(1, slots)
    for part, exact in ((read[:, :64], latent), (read[:, 64:], k_pe)):
        step = exact.abs().amax(1, keepdim=True) / 127
        assert ((part - exact).abs() <= step * 0.501).all()


def test_layers_and_neighbours_are_left_alone() -> None:
    pool = small_pool()
    for layer in (0, 1):
        pool.write(layer, (0, 32), torch.ones(32, 64), torch.ones(32, 64))
    before = [pool.read(layer, (0, 32)) for layer in (0, 1)]
    pool.write(0, (15, 17), torch.full((2, 64), 7.0), torch.full((2, 64), 3.0))
    after = pool.read(0, (0, 32))
    assert torch.equal(pool.read(1, (0, 32)), before[1])
    kept = [slot for slot in range(32) if slot not in (15, 16)]
    assert torch.equal(after[kept], before[0][kept])
    torch.testing.assert_close(after[15:17, :64], torch.full((2, 64), 7.0))


def test_zeros_stay_zeros() -> None:
    pool = small_pool()
    pool.write(0, (0, 1), torch.zeros(1, 64), torch.zeros(1, 64))
    assert torch.equal(pool.read(0, (0, 1)), torch.zeros(1, 128))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_spoils_its_part_only(bad: float) -> None:
    pool, latent, k_pe = small_pool(), torch.ones(2, 64), torch.ones(2, 64)
    latent[0, 5] = bad
    pool.write(0, (0, 2), latent, k_pe)
    read = pool.read(0, (0, 2))
    assert read[0, :64].isnan().all()
    assert not read[0, 64:].isnan().any()
    assert not read[1].isnan().any()


def test_positions_take_a_byte_a_number_and_two_units() -> None:
    pool = small_pool()
    per_position = pool.tiles[0].shape[1] * 2 / 16  # of both layers
    assert per_position == 2 * (64 + 64 + 8)
    assert sum(tiles.nbytes for tiles in pool.tiles) <= KV_BYTES


def test_blocks_are_copied_whole() -> None:
    pool, latent = small_pool(block_size=32), torch.randn(32, 64)
    pool.write(0, (32, 64), latent, latent)
    blocks = pool.block_bytes()
    blocks.write([3], blocks.read([1]))
    assert torch.equal(pool.read(0, (96, 128)), pool.read(0, (32, 64)))
    assert blocks.block_bytes * pool.num_blocks == sum(tiles.nbytes for tiles in pool.tiles)


def test_the_type_read_is_the_one_asked_for() -> None:
    pool = small_pool()
    pool.write(0, (0, 1), torch.ones(1, 64), torch.ones(1, 64))
    assert pool.read(0, (0, 1)).dtype == torch.float32
    assert pool.read(0, (0, 1), torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("rank", "block_size", "cache_dtype", "fits"),
    [
        (64, 16, "auto", True),
        (64, 48, "int8", True),
        (64, 24, "auto", False),
        (40, 16, "auto", False),
        (64, 16, "bfloat16", False),
        (64, 16, "int6", False),
    ],
)
def test_tiles_need_whole_parts(rank: int, block_size: int, cache_dtype: CacheDtype, fits: bool) -> None:
    engine = EngineConfig(block_size=block_size, cache_dtype=cache_dtype)
    assert TiledLatentPool.fits(latent_shape(rank), engine) is fits


def test_a_pool_too_small_for_the_context_is_refused() -> None:
    engine = EngineConfig(max_kv_bytes=1000, max_model_len=64)
    with pytest.raises(ConfigError, match="max_kv_bytes"):
        TiledLatentPool.allocate(latent_shape(64), engine)
