"""Everything a layer needs to know about the batch besides the hidden states; an argument, never a global."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from local_backend.cache.latent_pool import LatentPool
from local_backend.cache.pool import KVPool, Pool
from local_backend.cache.tiled_latents import TiledLatentPool
from local_backend.cache.tiled_pool import TiledKVPool
from local_backend.kernels.native_batch import NativeBatch

__all__ = ["ForwardContext", "Segment"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One sequence's rows in the packed batch.

    Attributes:
        start, end: Rows [start, end) of the hidden states.
        context_len: Positions visible to the last row: cached ones plus these.
        slots: Where positions [0, context_len) lie in the pool: (first, past the last) when they are
            consecutive, so that no gather is needed, else an index tensor (context_len,).
    """

    start: int
    end: int
    context_len: int
    slots: tuple[int, int] | Tensor

    @property
    def num_tokens(self) -> int:
        """Rows of this sequence."""
        return self.end - self.start

    @property
    def num_cached_tokens(self) -> int:
        """Positions computed in earlier steps."""
        return self.context_len - self.num_tokens

    def slots_between(self, first: int, last: int) -> tuple[int, int] | Tensor:
        """Where positions [first, last) lie."""
        if isinstance(self.slots, tuple):
            return self.slots[0] + first, self.slots[0] + last
        return self.slots[first:last]


@dataclass(frozen=True, slots=True)
class ForwardContext:
    """The batch around one forward pass.

    Attributes:
        rotary: (num_tokens, 1, rotary_dim / 2) complex64, e^(i * position * frequency).
        slot_mapping: Where each row's key and value go: consecutive (first, past the last), or (num_tokens,).
        segments: One per sequence, in row order; none when every layer reads `batch` instead.
        sampled_rows: (num_sampled,) rows whose logits are wanted.
        pool: Keys and values, or latents.
        expert_counts: (num_hidden_layers, n_routed_experts) int64 to count into; None counts nothing.
        aborted: Polled between layers; True ends the pass early with ForwardAborted.
        batch: The same as native calls see it; None when no layer needs it.
    """

    rotary: Tensor
    slot_mapping: tuple[int, int] | Tensor
    segments: tuple[Segment, ...]
    sampled_rows: Tensor
    pool: Pool
    expert_counts: Tensor | None
    aborted: Callable[[], bool]
    batch: NativeBatch | None = None

    @property
    def key_values(self) -> KVPool | TiledKVPool:
        """The pool of a model with grouped-query attention."""
        assert isinstance(self.pool, KVPool | TiledKVPool)
        return self.pool

    @property
    def latents(self) -> LatentPool | TiledLatentPool:
        """The pool of a model with latent attention."""
        assert isinstance(self.pool, LatentPool | TiledLatentPool)
        return self.pool
