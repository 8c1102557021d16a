"""Random requests against the block manager: nothing is lost, shared or found that should not be."""

from __future__ import annotations

from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from local_backend.cache.block_manager import BlockManager
from local_backend.errors import OutOfBlocksError
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence

BLOCK_SIZE, NUM_BLOCKS = 4, 10
Prefix = tuple[str, tuple[int, ...]]


class BlockMachine(RuleBasedStateMachine):
    """The model is a plain dict from each known prefix to the block that holds its end.

    An entry is made when a block is filled whose prefix is not known, and goes when its block is handed out.
    """

    sequences = Bundle("sequences")

    def __init__(self) -> None:
        super().__init__()
        self.blocks = BlockManager(NUM_BLOCKS, BLOCK_SIZE)
        self.live: list[Sequence] = []
        self.known: dict[Prefix, int] = {}
        self.ids = count()

    @rule(
        target=sequences,
        tokens=st.lists(st.integers(0, 1), min_size=1, max_size=20),
        salt=st.sampled_from(["", "alice"]),
    )
    def start(self, tokens: list[int], salt: str) -> Sequence:
        seq = Sequence(
            seq_id=next(self.ids),
            token_ids=tokens,
            num_prompt_tokens=len(tokens),
            params=SamplingParams(),
            cache_salt=salt,
        )
        self.attach(seq)
        self.live.append(seq)
        return seq

    def attach(self, seq: Sequence) -> None:
        found = self.blocks.attach_prefix(seq)
        assert found == seq.num_computed_tokens == len(seq.block_table) * BLOCK_SIZE
        assert found < len(seq), "nothing would be left to compute"
        expected: list[int] = []
        while (len(expected) + 1) * BLOCK_SIZE < len(seq):
            block_id = self.known.get(self.prefix(seq, len(expected)))
            if block_id is None:
                break
            expected.append(block_id)
        assert seq.block_table == expected

    def prefix(self, seq: Sequence, index: int) -> Prefix:
        return seq.cache_salt, tuple(seq.token_ids[: (index + 1) * BLOCK_SIZE])

    @rule(seq=sequences, chunk=st.integers(1, 9))
    def compute(self, seq: Sequence, chunk: int) -> None:
        target = min(seq.num_computed_tokens + chunk, len(seq))
        before, available = list(seq.block_table), self.blocks.num_available
        missing = self.blocks.blocks_needed(target) - len(before)
        try:
            self.blocks.grow(seq, target)
        except OutOfBlocksError:
            assert seq.block_table == before
            assert missing > available
            return
        assert available - self.blocks.num_available == missing
        taken = set(seq.block_table[len(before) :])
        self.known = {prefix: block_id for prefix, block_id in self.known.items() if block_id not in taken}
        first_open = seq.num_computed_tokens // BLOCK_SIZE
        self.blocks.commit(seq, target - seq.num_computed_tokens)
        for index in range(first_open, seq.num_computed_tokens // BLOCK_SIZE):
            self.known.setdefault(self.prefix(seq, index), seq.block_table[index])

    @rule(seq=sequences, token=st.integers(0, 1))
    def extend(self, seq: Sequence, token: int) -> None:
        seq.token_ids.append(token)

    @rule(seq=sequences)
    def preempt_and_come_back(self, seq: Sequence) -> None:
        self.release(seq)
        self.attach(seq)

    @rule(seq=consumes(sequences))
    def finish(self, seq: Sequence) -> None:
        self.release(seq)
        self.live.remove(seq)

    def release(self, seq: Sequence) -> None:
        self.blocks.release(seq)
        assert seq.block_table == []
        assert seq.num_computed_tokens == 0

    @invariant()
    def accounts_balance(self) -> None:
        self.blocks.check_integrity()
        held: dict[int, int] = {}
        for seq in self.live:
            assert len(set(seq.block_table)) == len(seq.block_table)
            assert self.blocks.blocks_needed(seq.num_computed_tokens) <= len(seq.block_table)
            for block_id in seq.block_table:
                held[block_id] = held.get(block_id, 0) + 1
        counts = {i: block.ref_count for i, block in enumerate(self.blocks._blocks) if block.ref_count}
        assert counts == held
        assert self.blocks.num_available == NUM_BLOCKS - len(held)

    @invariant()
    def only_full_blocks_are_shared(self) -> None:
        for seq in self.live:
            part_filled = seq.block_table[seq.num_computed_tokens // BLOCK_SIZE :]
            assert all(self.blocks._blocks[block_id].ref_count == 1 for block_id in part_filled)


TestBlockManager = BlockMachine.TestCase
TestBlockManager.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
