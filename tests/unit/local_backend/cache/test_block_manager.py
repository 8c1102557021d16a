"""The block manager's promises, one by one; random use is in tests/property."""

from __future__ import annotations

import pytest

from local_backend.cache.block_manager import BlockManager, chain_hash
from local_backend.errors import OutOfBlocksError
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence


def sequence(tokens: list[int], salt: str = "") -> Sequence:
    return Sequence(
        seq_id=0, token_ids=tokens, num_prompt_tokens=len(tokens), params=SamplingParams(), cache_salt=salt
    )


def computed(blocks: BlockManager, tokens: list[int], salt: str = "") -> Sequence:
    """A sequence that has been attached, grown and computed whole."""
    seq = sequence(tokens, salt)
    blocks.attach_prefix(seq)
    blocks.grow(seq, len(tokens))
    blocks.commit(seq, seq.num_uncomputed_tokens)
    return seq


def test_running_sequences_share_full_blocks() -> None:
    blocks = BlockManager(8, 4)
    first = computed(blocks, list(range(10)))
    second = computed(blocks, [*range(8), 98, 99])
    assert second.block_table[:2] == first.block_table[:2]
    assert second.block_table[2] != first.block_table[2]
    assert blocks.num_available == 4


def test_one_token_is_always_left_to_compute() -> None:
    blocks = BlockManager(8, 4)
    blocks.release(computed(blocks, list(range(8))))
    assert blocks.attach_prefix(sequence(list(range(8)))) == 4


def test_fresh_blocks_are_neighbours() -> None:
    assert computed(BlockManager(8, 4), list(range(20))).block_table == [0, 1, 2, 3, 4]


def test_the_end_of_the_least_recently_used_prefix_is_evicted_first() -> None:
    blocks = BlockManager(4, 4)
    blocks.release(computed(blocks, [1] * 9))  # two full blocks
    blocks.release(computed(blocks, [2] * 9))
    blocks.release(computed(blocks, [3] * 4))  # needs one: takes the second block of [1, ...]
    assert [blocks.attach_prefix(sequence([token] * 9)) for token in (1, 2)] == [4, 8]


def test_a_hit_is_not_evicted() -> None:
    blocks = BlockManager(2, 4)
    blocks.release(computed(blocks, [1] * 5))
    seq = sequence([1] * 5)
    blocks.attach_prefix(seq)
    with pytest.raises(OutOfBlocksError, match="2 KV blocks needed, 1 of 2 available") as caught:
        blocks.grow(seq, 12)
    assert "max_kv_bytes" in caught.value.help_message
    assert len(seq.block_table) == 1
    blocks.check_integrity()


def test_bookkeeping_stays_small_over_many_requests() -> None:
    blocks = BlockManager(6, 4)
    for i in range(500):
        blocks.release(computed(blocks, [i // 50] * 7))  # mostly a hit and its free neighbour
    blocks.check_integrity()
    assert len(blocks._free) <= 2 * blocks.num_blocks
    assert len(blocks._by_hash) <= blocks.num_blocks


def test_hashes_tell_apart_what_differs() -> None:
    first = chain_hash(b"", [1, 23])
    hashes = {
        first,
        chain_hash(b"", [12, 3]),
        chain_hash(b"", [1, 23], "salt"),
        chain_hash(b"", [23], "1"),
        chain_hash(first, [1, 23]),
        chain_hash(b"", [1, 23], "\udc80"),
    }
    assert len(hashes) == 6
    assert chain_hash(b"", [1, 23]) == first
