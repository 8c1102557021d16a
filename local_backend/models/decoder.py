"""The decoder that all families share: embedding, layers, norm, output matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.cache.pool import Pool
from local_backend.kernels.base import Kernels, PackedWeight
from local_backend.kernels.native import NativeKernels
from local_backend.layers.forward_context import ForwardContext
from local_backend.layers.linear import Linear
from local_backend.models.decoder_layer import DecoderLayer
from local_backend.models.mtp import MTPModule
from local_backend.models.rotated_cache import CacheRotator
from local_backend.models.wiring import Wiring
from local_backend.store.packed_file import PackedModel

__all__ = ["Decoder", "DecoderOutput", "ForwardAbortedError"]


class ForwardAbortedError(Exception):
    """The context asked to stop between two layers; nothing of the step is to be kept."""


class DecoderOutput(NamedTuple):
    """What a forward pass computes.

    Attributes:
        logits: float32 (num_sampled, vocab_size) of ForwardContext.sampled_rows.
        hidden: float32 (num_tokens, hidden_size) behind the last layer, before the final norm.
    """

    logits: Tensor
    hidden: Tensor


@dataclass(frozen=True, slots=True)
class Decoder:
    """A stack of layers; holds parameters, no request state.

    Attributes:
        mtp: Guesses one token further; None where the checkpoint has no such module.
    """

    config: ModelConfig
    kernels: Kernels
    embed_tokens: PackedWeight
    layers: tuple[DecoderLayer, ...]
    norm: Tensor
    lm_head: Linear
    mtp: MTPModule | None = None

    @classmethod
    def build(cls, packed: PackedModel, kernels: Kernels) -> Decoder:
        """Wire a packed checkpoint on the kernels' device."""
        packed = packed.to(kernels.device)
        config, wiring = packed.config, Wiring(packed, kernels)
        head = "model.embed_tokens" if config.tie_word_embeddings else "lm_head"
        embed_tokens = packed.weights["model.embed_tokens"]
        lm_head = Linear(packed.weights[head], None, kernels)
        return cls(
            config=config,
            kernels=kernels,
            embed_tokens=embed_tokens,
            layers=tuple(DecoderLayer.build(wiring, index) for index in range(config.num_hidden_layers)),
            norm=packed.vectors["model.norm.weight"],
            lm_head=lm_head,
            mtp=MTPModule.build(wiring, embed_tokens, lm_head) if config.num_nextn_predict_layers else None,
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
        return self._with_layers(lambda layer: layer.rotated(rotator))

    def with_native_layers(self, pool: Pool) -> Decoder:
        """Return the same model with layers as single native calls, wherever the kernels have one.

        Args:
            pool: The cache that the model will run over.
        """
        kernels, eps = self.kernels, self.config.rms_norm_eps
        if not isinstance(kernels, NativeKernels):
            return self
        return self._with_layers(lambda layer: layer.native(eps, kernels, pool))

    def without_mtp(self) -> Decoder:
        """Return the model alone."""
        return replace(self, mtp=None, config=self.config.without_mtp())

    def _with_layers(self, change: Callable[[DecoderLayer], DecoderLayer]) -> Decoder:
        mtp = None if self.mtp is None else replace(self.mtp, layer=change(self.mtp.layer))
        return replace(self, layers=tuple(map(change, self.layers)), mtp=mtp)

    def forward(self, token_ids: Tensor, ctx: ForwardContext) -> DecoderOutput:
        """Run (num_tokens,) ids.

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
            return DecoderOutput(torch.empty(0, self.config.vocab_size), hidden)
        last = self.normalised(hidden[ctx.sampled_rows])
        return DecoderOutput(self.lm_head(last).float(), hidden)

    def normalised(self, hidden: Tensor) -> Tensor:
        """Apply the final norm to (n, hidden_size); the result is in the kernels' type."""
        return self.kernels.rms_norm(hidden, self.norm, self.config.rms_norm_eps)
