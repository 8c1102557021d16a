"""The decoder that all families share: norm, attention, norm, feed-forward, all residual."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.cache.pool import Pool
from local_backend.kernels.base import Kernels, PackedWeight
from local_backend.kernels.native import NativeKernels
from local_backend.layers.forward_context import ForwardContext
from local_backend.layers.linear import Linear
from local_backend.models.mla import MLAttention
from local_backend.models.mlp import FeedForward
from local_backend.models.native_attention import native_attention
from local_backend.models.native_blocks import Block, native_feed_forward
from local_backend.models.rotated_cache import CacheRotator
from local_backend.models.wiring import Wiring
from local_backend.store.packed_file import PackedModel

__all__ = ["Attention", "Decoder", "ForwardAbortedError"]


class ForwardAbortedError(Exception):
    """The context asked to stop between two layers; nothing of the step is to be kept."""


class Attention(Protocol):
    """What stands behind the first norm of a layer."""

    def __call__(self, hidden: Tensor, ctx: ForwardContext) -> Tensor:
        """Map normalised (num_tokens, hidden_size) to the same shape."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer; its halves may be single calls, which then take the place of norm and block."""

    input_layernorm: Tensor
    attention: Attention | None  # dropped for a call that has the weights in another form
    post_attention_layernorm: Tensor
    feed_forward: FeedForward
    native_attention: Block | None = None
    native_feed_forward: Block | None = None

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


@dataclass(frozen=True, slots=True)
class Decoder:
    """A stack of layers; holds parameters, no request state."""

    config: ModelConfig
    kernels: Kernels
    embed_tokens: PackedWeight
    layers: tuple[_Layer, ...]
    norm: Tensor
    lm_head: Linear

    @classmethod
    def build(cls, packed: PackedModel, kernels: Kernels) -> Decoder:
        """Wire a packed checkpoint on the kernels' device."""
        packed = packed.to(kernels.device)
        config, wiring = packed.config, Wiring(packed, kernels)
        head = "model.embed_tokens" if config.tie_word_embeddings else "lm_head"
        layers = (
            _Layer(
                input_layernorm=packed.vectors[f"model.layers.{index}.input_layernorm.weight"],
                attention=wiring.attention(index),
                post_attention_layernorm=packed.vectors[
                    f"model.layers.{index}.post_attention_layernorm.weight"
                ],
                feed_forward=wiring.feed_forward(index),
            )
            for index in range(config.num_hidden_layers)
        )
        return cls(
            config=config,
            kernels=kernels,
            embed_tokens=packed.weights["model.embed_tokens"],
            layers=tuple(layers),
            norm=packed.vectors["model.norm.weight"],
            lm_head=Linear(packed.weights[head], None, kernels),
        )

    @property
    def has_native_attention(self) -> bool:
        """Whether any layer reads ForwardContext.batch."""
        return any(layer.native_attention is not None for layer in self.layers)

    def with_rotated_latents(self) -> Decoder:
        """Return the same model over a rotated latent cache, which can be rounded at less cost.

        Logits stay the same up to float rounding. A model without latent attention is returned as it is.
        """
        if self.config.mla is None:
            return self
        rotator = CacheRotator(self.config.mla, self.kernels.device)
        layers = (
            replace(layer, attention=rotator.rotated(layer.attention, layer.input_layernorm))
            if isinstance(layer.attention, MLAttention)
            else layer
            for layer in self.layers
        )
        return replace(self, layers=tuple(layers))

    def with_native_layers(self, pool: Pool) -> Decoder:
        """Return the same model with layers as single native calls, wherever the kernels have one.

        Args:
            pool: The cache that the model will run over.
        """
        if not isinstance(self.kernels, NativeKernels):
            return self
        return replace(self, layers=tuple(self._native(layer, self.kernels, pool) for layer in self.layers))

    def _native(self, layer: _Layer, kernels: NativeKernels, pool: Pool) -> _Layer:
        eps = self.config.rms_norm_eps
        attention = native_attention(layer.attention, layer.input_layernorm, eps, kernels, pool)
        feed_forward = native_feed_forward(layer.feed_forward, layer.post_attention_layernorm, eps, kernels)
        return replace(
            layer,
            attention=layer.attention if attention is None else None,
            native_attention=attention,
            native_feed_forward=feed_forward,
        )

    def forward(self, token_ids: Tensor, ctx: ForwardContext) -> Tensor:
        """Run (num_tokens,) ids; returns float32 logits (num_sampled, vocab_size) of ctx.sampled_rows.

        Raises:
            ForwardAbortedError: ctx.aborted() became true between layers.
        """
        kernels, eps = self.kernels, self.config.rms_norm_eps
        hidden = kernels.embedding(token_ids, self.embed_tokens)  # (num_tokens, hidden_size) float32
        for layer in self.layers:
            if ctx.aborted():
                raise ForwardAbortedError
            layer.run(hidden, ctx, kernels, eps)
        if not ctx.sampled_rows.numel():
            return torch.empty(0, self.config.vocab_size)
        last = kernels.rms_norm(hidden[ctx.sampled_rows], self.norm, eps)
        return self.lm_head(last).float()
