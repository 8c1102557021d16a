"""Who owns which KV block: reference counts, hash-chained prefix reuse, LRU eviction.

Plain Python over block ids. It never sees a tensor and never decides what to run.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b

from local_backend.errors import OutOfBlocksError
from local_backend.sequence import Sequence

__all__ = ["Block", "BlockManager", "CachedPrefix", "chain_hash"]


def chain_hash(previous: bytes, token_ids: list[int], salt: str = "") -> bytes:
    """Hash one full block together with everything before it.

    Args:
        previous: Hash of the block before; empty for the first.
        token_ids: The block's tokens.
        salt: Mixed into the first block only; keeps users' caches apart.
    """
    digest = blake2b(previous or salt.encode("utf-8", "surrogatepass"), digest_size=16)
    digest.update(b"|" if previous else b"^")
    digest.update(b",".join(b"%d" % token_id for token_id in token_ids))
    return digest.digest()


@dataclass(slots=True)
class Block:
    """One KV block: how many sequences use it, and what it holds when it is full."""

    ref_count: int = 0
    block_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """What of a sequence's tokens is in memory.

    Attributes:
        num_blocks: Its leading blocks that are.
        num_evictable: How many of them no sequence uses.
        last_block: Id of the last; -1 without any.
    """

    num_blocks: int
    num_evictable: int
    last_block: int


@dataclass(slots=True)
class BlockManager:
    """Hands out blocks to sequences and remembers computed prefixes.

    A block is in exactly one of three states: free (never filled, or forgotten), in use
    (ref_count > 0), or cached (ref_count 0, content findable by hash, evicted least recently used first).

    Args:
        num_blocks: Blocks in the pool.
        block_size: Positions per block.
    """

    num_blocks: int
    block_size: int
    _blocks: list[Block] = field(init=False)
    _free: list[int] = field(init=False)
    _free_set: set[int] = field(init=False)
    _cached: OrderedDict[int, None] = field(init=False, default_factory=OrderedDict)
    _by_hash: dict[bytes, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._blocks = [Block() for _ in range(self.num_blocks)]
        self._free = list(range(self.num_blocks))
        self._free_set = set(self._free)

    @property
    def num_available(self) -> int:
        """Blocks that can be handed out now, evicting cached ones if need be."""
        return len(self._free_set) + len(self._cached)

    def blocks_needed(self, num_tokens: int) -> int:
        """Blocks that hold num_tokens positions."""
        return -(-num_tokens // self.block_size)

    def attach_prefix(self, seq: Sequence) -> int:
        """Give a sequence without blocks the longest computed prefix of its tokens.

        At least one token is left to compute, because sampling needs its logits.

        Returns:
            Number of positions found, a multiple of the block size.
        """
        for block_id in self._find(seq, self.reusable_blocks(seq)):
            self._acquire(block_id)
            seq.block_table.append(block_id)
        seq.num_computed_tokens = len(seq.block_table) * self.block_size
        return seq.num_computed_tokens

    def grow(self, seq: Sequence, num_tokens: int) -> None:
        """Extend the block table until it covers num_tokens positions.

        Raises:
            OutOfBlocksError: Not enough blocks; the table is unchanged.
        """
        missing = self.blocks_needed(num_tokens) - len(seq.block_table)
        if missing > self.num_available:
            raise OutOfBlocksError(
                f"{missing} KV blocks needed, {self.num_available} of {self.num_blocks} available",
                help_message="Raise EngineConfig.max_kv_bytes, or send fewer or shorter requests at once.",
            )
        seq.block_table += self.take(missing, after=seq.block_table[-1] if seq.block_table else -1)

    def commit(self, seq: Sequence, num_tokens: int) -> None:
        """Count num_tokens more positions as computed; publish the blocks they fill for others to reuse."""
        first_open = seq.num_computed_tokens // self.block_size
        seq.num_computed_tokens += num_tokens
        self.publish(
            seq, first_open, seq.block_table[first_open : seq.num_computed_tokens // self.block_size]
        )

    def publish(self, seq: Sequence, first: int, block_ids: list[int]) -> None:
        """Let others find full blocks, the first of which holds the sequence's block number `first`."""
        for index, block_id in enumerate(block_ids, first):
            block_hash = self.hash_of(seq, index)
            if block_hash not in self._by_hash:
                self._blocks[block_id].block_hash = block_hash
                self._by_hash[block_hash] = block_id

    def reusable_blocks(self, seq: Sequence) -> int:
        """Return how many leading blocks of a sequence may be found: one token is left to compute."""
        return (len(seq.token_ids) - 1) // self.block_size

    def refresh_prefix(self, seq: Sequence, limit: int) -> CachedPrefix:
        """Look for a sequence's first `limit` blocks; those found are evicted after all others."""
        found = self._find(seq, limit)
        evictable = [block_id for block_id in found if block_id in self._cached]
        for block_id in reversed(evictable):
            self._cached.move_to_end(block_id)
        return CachedPrefix(len(found), len(evictable), found[-1] if found else -1)

    def take(self, count: int, *, after: int) -> list[int]:
        """Hand out that many available blocks, those that follow the block `after` where that can be."""
        taken: list[int] = []
        for _ in range(count):
            after = self._take(after + 1)
            taken.append(after)
        return taken

    def release(self, seq: Sequence) -> None:
        """Take all blocks back; full ones stay findable until evicted. The last blocks are evicted first."""
        self.give_back(seq.block_table)
        seq.block_table.clear()
        seq.num_computed_tokens = 0

    def give_back(self, block_ids: list[int]) -> None:
        """Take back what one user holds; the last of these blocks are evicted first."""
        for block_id in reversed(block_ids):
            block = self._blocks[block_id]
            block.ref_count -= 1
            if block.ref_count:
                continue
            if block.block_hash is None:
                self._put_free(block_id)
            else:
                self._cached[block_id] = None

    def check_integrity(self) -> None:
        """Assert the three states partition the pool and every hash leads to its block."""
        in_use = {i for i, block in enumerate(self._blocks) if block.ref_count}
        cached = set(self._cached)
        assert all(block.ref_count >= 0 for block in self._blocks), "negative ref_count"
        assert not in_use & cached, "a cached block is in use"
        assert not (in_use | cached) & self._free_set, "a free block is in use or cached"
        assert len(in_use) + len(cached) + len(self._free_set) == self.num_blocks, "a block is lost"
        assert self._free_set <= set(self._free), "a free block cannot be found"
        assert all(self._blocks[i].block_hash == h for h, i in self._by_hash.items()), "stale hash"
        assert all(self._blocks[i].block_hash is not None for i in cached), "cached block without hash"

    def hash_of(self, seq: Sequence, index: int) -> bytes:
        """Return the chain hash of a sequence's block; its tokens must be there."""
        while len(seq.block_hashes) <= index:
            start = len(seq.block_hashes) * self.block_size
            tokens = seq.token_ids[start : start + self.block_size]
            previous = seq.block_hashes[-1] if seq.block_hashes else b""
            seq.block_hashes.append(chain_hash(previous, tokens, seq.cache_salt))
        return seq.block_hashes[index]

    def _find(self, seq: Sequence, limit: int) -> list[int]:
        """Blocks that hold the sequence's leading tokens, up to the first that is missing."""
        found: list[int] = []
        for index in range(limit):
            block_id = self._by_hash.get(self.hash_of(seq, index))
            if block_id is None:
                break
            found.append(block_id)
        return found

    def _acquire(self, block_id: int) -> None:
        self._blocks[block_id].ref_count += 1
        self._cached.pop(block_id, None)

    def _take(self, wanted: int) -> int:
        """Prefer the neighbour of the last block: runs of consecutive ids are read without a gather."""
        if wanted in self._free_set:
            self._free_set.remove(wanted)
            block_id = wanted
        elif self._free_set:
            block_id = heapq.heappop(self._free)
            while block_id not in self._free_set:
                block_id = heapq.heappop(self._free)
            self._free_set.remove(block_id)
        else:
            block_id, _ = self._cached.popitem(last=False)
            self._forget(block_id)
        self._blocks[block_id].ref_count = 1
        return block_id

    def _forget(self, block_id: int) -> None:
        block = self._blocks[block_id]
        if block.block_hash is not None:
            del self._by_hash[block.block_hash]
            block.block_hash = None

    def _put_free(self, block_id: int) -> None:
        self._free_set.add(block_id)
        heapq.heappush(self._free, block_id)
        if len(self._free) > 2 * self.num_blocks:  # mostly ids that were taken as neighbours
            self._free = sorted(self._free_set)
