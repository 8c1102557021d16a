"""What moves between memory and a slower tier, and when; random use is in tests/property."""

from __future__ import annotations

from typing import Any

from dict_tier import DictTier

from local_backend.cache.block_manager import BlockManager
from local_backend.cache.prefix_tier import SegmentName
from local_backend.cache.tiered_prefixes import TieredPrefixes
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence

BLOCK_SIZE = 4  # a segment is two blocks, eight tokens
Kept = dict[SegmentName, list[Any]]
DOCUMENT = list(range(24))


def sequence(tokens: list[int], salt: str = "") -> Sequence:
    return Sequence(
        seq_id=0,
        token_ids=list(tokens),
        num_prompt_tokens=len(tokens),
        params=SamplingParams(),
        cache_salt=salt,
    )


class Process:
    """One process's blocks over a tier that others share."""

    def __init__(self, kept: Kept, *, num_blocks: int = 16, min_prompt_tokens: int = 0) -> None:
        self.contents: dict[int, Any] = {}
        self.tier = DictTier(self.contents, kept, min_prompt_tokens=min_prompt_tokens)
        self.blocks = BlockManager(num_blocks, BLOCK_SIZE)
        self.prefixes = TieredPrefixes(self.blocks, self.tier)

    def find(self, tokens: list[int], salt: str = "") -> Sequence:
        """A sequence with what both tiers had of it."""
        seq = sequence(tokens, salt)
        while self.prefixes.bring(seq):
            pass
        seq.num_cached_tokens = self.blocks.attach_prefix(seq)
        return seq

    def run(self, tokens: list[int], salt: str = "") -> int:
        """Answer a prompt; returns how much of it was found."""
        seq = self.find(tokens, salt)
        self.blocks.grow(seq, len(tokens))
        for index in range(seq.num_computed_tokens // BLOCK_SIZE, len(seq.block_table)):
            self.contents[seq.block_table[index]] = tokens[: (index + 1) * BLOCK_SIZE]
        self.blocks.commit(seq, seq.num_uncomputed_tokens)
        self.prefixes.keep(seq)
        assert [self.contents[block_id] for block_id in seq.block_table] == [
            tokens[: (index + 1) * BLOCK_SIZE] for index in range(len(seq.block_table))
        ]
        self.blocks.release(seq)
        self.blocks.check_integrity()
        return seq.num_cached_tokens or 0


def test_another_process_finds_whole_segments() -> None:
    kept: Kept = {}
    assert Process(kept).run([*DOCUMENT, 100, 101]) == 0
    assert len(kept) == 3
    assert Process(kept).run([*DOCUMENT, 200]) == 24


def test_one_token_is_left_to_compute() -> None:
    kept: Kept = {}
    Process(kept).run(DOCUMENT)
    assert Process(kept).run(DOCUMENT) == 16


def test_users_do_not_share() -> None:
    kept: Kept = {}
    Process(kept).run([*DOCUMENT, 100], salt="alice")
    other = Process(kept)
    assert [other.run([*DOCUMENT, 100], salt=salt) for salt in ("bob", "", "alice")] == [0, 0, 24]


def test_short_prompts_are_left_alone() -> None:
    kept: Kept = {}
    process = Process(kept, min_prompt_tokens=25)
    process.run(DOCUMENT)
    assert kept == {}
    process.run([*DOCUMENT, 100])
    assert len(kept) == 3


def test_what_was_generated_is_kept_with_the_next_prompt() -> None:
    kept: Kept = {}
    process = Process(kept)
    seq = process.find(DOCUMENT)
    seq.token_ids += range(50, 60)
    process.blocks.grow(seq, len(seq))
    process.contents.update(dict.fromkeys(seq.block_table))
    process.blocks.commit(seq, len(seq))
    process.prefixes.keep(seq)
    assert len(kept) == 3


def test_evicted_blocks_come_back() -> None:
    process = Process({}, num_blocks=8)
    process.run([*DOCUMENT, 100])
    process.run(list(range(200, 225)))
    assert process.run([*DOCUMENT, 101]) == 24


def test_a_half_evicted_segment_is_completed() -> None:
    process = Process({}, num_blocks=8)
    process.run([*DOCUMENT, 100])
    process.run([300] * 12)  # three blocks, of which two are free: the document's last goes
    seq = sequence([*DOCUMENT, 101])
    assert process.blocks.refresh_prefix(seq, 6).num_blocks == 5
    assert process.run(seq.token_ids) == 24


def test_a_damaged_segment_ends_what_is_found() -> None:
    kept: Kept = {}
    Process(kept).run([*DOCUMENT, 100])
    process = Process(kept)
    process.tier.damaged.add(list(kept)[1])
    assert process.run([*DOCUMENT, 100]) == 8
    assert len(kept) == 3  # computed, and kept again


def test_a_refused_offer_is_made_again() -> None:
    kept: Kept = {}
    process = Process(kept)
    process.tier.full = True
    process.run([*DOCUMENT, 100])
    assert kept == {}
    process.tier.full = False
    assert process.run([*DOCUMENT, 101]) == 24
    assert len(kept) == 3


def test_a_prefix_never_pushes_out_its_own_beginning() -> None:
    kept: Kept = {}
    Process(kept).run([*DOCUMENT, 100])
    small = Process(kept, num_blocks=5)
    assert small.find([*DOCUMENT, 100]).num_cached_tokens == 16
    small.blocks.check_integrity()


def test_pieces_are_small() -> None:
    kept: Kept = {}
    Process(kept).run(list(range(100, 141)))
    process = Process(kept)
    seq = sequence(list(range(100, 141)))
    found = []
    while process.prefixes.bring(seq):
        found.append(process.blocks.num_blocks - len(process.blocks._free_set))
    assert found == [4, 8]
    assert process.blocks.attach_prefix(seq) == 40
