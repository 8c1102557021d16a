"""Random requests of two processes over one tier: whatever fails, no block ever holds another's content."""

from __future__ import annotations

from itertools import count
from typing import Any

from dict_tier import DictTier
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from local_backend.cache.block_manager import BlockManager
from local_backend.cache.tiered_prefixes import TieredPrefixes
from local_backend.errors import OutOfBlocksError
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence

BLOCK_SIZE, NUM_BLOCKS = 2, 12
TOKENS = st.lists(st.integers(0, 1), min_size=1, max_size=24)


class TierMachine(RuleBasedStateMachine):
    """The model is what each block holds: the salt and all tokens up to its end."""

    sequences = Bundle("sequences")

    def __init__(self) -> None:
        super().__init__()
        kept: dict[Any, list[Any]] = {}
        self.contents: list[dict[int, Any]] = [{}, {}]
        self.blocks = [BlockManager(NUM_BLOCKS, BLOCK_SIZE) for _ in range(2)]
        self.tiers = [DictTier(contents, kept) for contents in self.contents]
        self.live: list[tuple[int, Sequence]] = []
        self.ids = count()

    @rule(target=sequences, process=st.integers(0, 1), tokens=TOKENS, salt=st.sampled_from(["", "alice"]))
    def start(self, process: int, tokens: list[int], salt: str) -> tuple[int, Sequence]:
        seq = Sequence(
            seq_id=next(self.ids),
            token_ids=tokens,
            num_prompt_tokens=len(tokens),
            params=SamplingParams(),
            cache_salt=salt,
        )
        pieces, known = 0, self.in_memory(process, seq)
        while self.prefixes(process).bring(seq):
            pieces += 1
            assert pieces <= len(tokens)
        found = self.blocks[process].attach_prefix(seq)
        assert known <= found < len(tokens)
        self.live.append((process, seq))
        return process, seq

    @rule(of=sequences, chunk=st.integers(1, 9))
    def compute(self, of: tuple[int, Sequence], chunk: int) -> None:
        process, seq = of
        target = min(seq.num_computed_tokens + chunk, len(seq))
        first = seq.num_computed_tokens // BLOCK_SIZE
        try:
            self.blocks[process].grow(seq, target)
        except OutOfBlocksError:
            return
        for index in range(first, target // BLOCK_SIZE):
            self.contents[process][seq.block_table[index]] = self.expected(seq, index)
        self.blocks[process].commit(seq, target - seq.num_computed_tokens)
        self.prefixes(process).keep(seq)

    @rule(of=sequences, token=st.integers(0, 1))
    def generate(self, of: tuple[int, Sequence], token: int) -> None:
        of[1].token_ids.append(token)

    @rule(of=consumes(sequences))
    def finish(self, of: tuple[int, Sequence]) -> None:
        self.blocks[of[0]].release(of[1])
        self.live.remove(of)

    @rule(process=st.integers(0, 1), full=st.booleans())
    def fill_the_queue(self, process: int, full: bool) -> None:
        self.tiers[process].full = full

    @rule(which=st.integers(0, 100), lost=st.booleans())
    def spoil(self, which: int, lost: bool) -> None:
        kept = self.tiers[0].kept
        if kept:
            name = list(kept)[which % len(kept)]
            if lost:
                del kept[name]
                self.tiers[0].damaged.discard(name)
            else:
                self.tiers[0].damaged.add(name)

    @invariant()
    def blocks_hold_what_their_sequences_think(self) -> None:
        for process, seq in self.live:
            for index in range(seq.num_computed_tokens // BLOCK_SIZE):
                assert self.contents[process][seq.block_table[index]] == self.expected(seq, index)

    @invariant()
    def accounts_balance(self) -> None:
        for process, blocks in enumerate(self.blocks):
            blocks.check_integrity()
            held = {block_id for owner, seq in self.live if owner == process for block_id in seq.block_table}
            assert blocks.num_available == NUM_BLOCKS - len(held)

    def prefixes(self, process: int) -> TieredPrefixes:
        return TieredPrefixes(self.blocks[process], self.tiers[process])

    def in_memory(self, process: int, seq: Sequence) -> int:
        return self.blocks[process].refresh_prefix(seq, (len(seq) - 1) // BLOCK_SIZE).num_blocks * BLOCK_SIZE

    def expected(self, seq: Sequence, index: int) -> Any:
        return seq.cache_salt, tuple(seq.token_ids[: (index + 1) * BLOCK_SIZE])


TestTiers = TierMachine.TestCase
TestTiers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
