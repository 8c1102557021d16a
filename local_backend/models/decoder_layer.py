"""One layer: norm, attention, norm, feed-forward, both halves residual."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from local_backend.cache.pool import Pool
from local_backend.kernels.base import Kernels
from local_backend.kernels.native import NativeKernels
from local_backend.layers.forward_context import ForwardContext
from local_backend.models.mla import MLAttention
from local_backend.models.mlp import FeedForward
from local_backend.models.native_attention import native_attention
from local_backend.models.native_blocks import Block, native_feed_forward
from local_backend.models.rotated_cache import CacheRotator
from local_backend.models.wiring import Wiring

__all__ = ["Attention", "DecoderLayer"]


class Attention(Protocol):
    """What stands behind the first norm of a layer."""

    def __call__(self, hidden: Tensor, ctx: ForwardContext) -> Tensor:
        """Map normalised (num_tokens, hidden_size) to the same shape."""


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """One layer; its halves may be single calls, which then take the place of norm and block."""

    input_layernorm: Tensor
    attention: Attention | None  # dropped for a call that has the weights in another form
    post_attention_layernorm: Tensor
    feed_forward: FeedForward
    native_attention: Block | None = None
    native_feed_forward: Block | None = None

    @classmethod
    def build(cls, wiring: Wiring, index: int) -> DecoderLayer:
        """Wire a layer of a packed checkpoint."""
        vectors, prefix = wiring.packed.vectors, f"model.layers.{index}"
        return cls(
            input_layernorm=vectors[f"{prefix}.input_layernorm.weight"],
            attention=wiring.attention(index),
            post_attention_layernorm=vectors[f"{prefix}.post_attention_layernorm.weight"],
            feed_forward=wiring.feed_forward(index),
        )

    def rotated(self, rotator: CacheRotator) -> DecoderLayer:
        """Return the same layer over a rotated latent cache; without latent attention as it is."""
        if not isinstance(self.attention, MLAttention):
            return self
        return replace(self, attention=rotator.rotated(self.attention, self.input_layernorm))

    def native(self, eps: float, kernels: NativeKernels, pool: Pool) -> DecoderLayer:
        """Return the same layer as native calls, wherever there is one for its form.

        Args:
            eps: Of the norms.
            kernels: Hold the calls.
            pool: The cache that the layer will run over.
        """
        attention = native_attention(self.attention, self.input_layernorm, eps, kernels, pool)
        feed_forward = native_feed_forward(self.feed_forward, self.post_attention_layernorm, eps, kernels)
        return replace(
            self,
            attention=self.attention if attention is None else None,
            native_attention=attention,
            native_feed_forward=feed_forward,
        )

    def run(self, hidden: Tensor, ctx: ForwardContext, kernels: Kernels, eps: float) -> None:
        """Add both halves to float32 hidden (num_tokens, hidden_size), in place."""
        if self.native_attention is not None:
            self.native_attention(hidden, ctx)
        else:
            assert self.attention is not None
            hidden.add_(self.attention(kernels.rms_norm(hidden, self.input_layernorm, eps), ctx))
        if self.native_feed_forward is not None:
            self.native_feed_forward(hidden, ctx)
        else:
            normed = kernels.rms_norm(hidden, self.post_attention_layernorm, eps)
            hidden.add_(self.feed_forward(normed, ctx))
