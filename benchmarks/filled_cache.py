"""Fill the engine's cache with made-up positions, as if a long prompt had been computed.

How fast a token is made after 32K others depends on how many there are and not on what they say, and
computing them would take llama.cpp over an hour. Every slot gets numbers of its own: a cache that was never
written is one page of zeros to the system, which would be read from the processor's own cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from local_backend.architecture import ModelConfig
from local_backend.cache.pool import KVPool, Pool
from local_backend.cache.tiled_pool import TiledKVPool
from local_backend.engine.engine import Engine
from local_backend.sampling_params import SamplingParams

CHUNK = 512


def fill_cache(engine: Engine, model: ModelConfig, token_ids: list[int], salt: str) -> None:
    """Publish these tokens as computed; a sequence that begins with them and has the same salt finds them.

    Args:
        engine: Idle; it must have blocks for all of them.
        model: Its shape.
        token_ids: As many as positions wanted, a multiple of the block size.
        salt: Sequence.cache_salt.
    """
    seq = engine.new_sequence(token_ids, SamplingParams(max_tokens=1), cache_salt=salt)
    engine.blocks.grow(seq, len(token_ids))
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for slots in _slots(seq.block_table, engine.config.block_size):
            _write_random(engine.pool, model, slots, generator)
    engine.blocks.commit(seq, len(token_ids))
    engine.blocks.release(seq)


def _slots(block_table: list[int], block_size: int) -> Iterator[tuple[int, int]]:
    """Yield (first, past the last) of runs of at most CHUNK positions."""
    first, last = block_table[0], block_table[0]
    for block in [*block_table[1:], -1]:
        if block == last + 1 and (block - first) * block_size < CHUNK:
            last = block
            continue
        yield first * block_size, (last + 1) * block_size
        first = last = block


def _write_random(pool: Pool, model: ModelConfig, slots: tuple[int, int], generator: torch.Generator) -> None:
    count = slots[1] - slots[0]
    for layer in range(model.num_hidden_layers):
        if not isinstance(pool, KVPool | TiledKVPool):
            assert model.mla is not None
            latent, k_pe = (
                torch.randn(count, width, generator=generator)
                for width in (model.mla.kv_lora_rank, model.mla.qk_rope_head_dim)
            )
            pool.write(layer, slots, latent, k_pe)
        else:
            shape = (count, model.num_key_value_heads, model.head_dim)
            key, value = (torch.randn(shape, generator=generator) for _ in range(2))
            pool.write(layer, slots, key, value)
