"""V3's multi-token prediction module: one layer that guesses the token after the next one.

From the model's last hidden state at a position and the token that follows, it predicts the token after that
(DeepSeek-V3 paper, section 2.2). The paper leaves two things open, which are read from what serves the
published weights (vLLM's deepseek_mtp.py): the embedding comes first in eh_proj's input, and the hidden state
is the one behind the model's final norm, or behind the module's own when it goes on from its own guess.
The embedding and the output matrix are the model's; checkpoints store copies of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.kernels.base import Kernels, PackedWeight
from local_backend.layers.forward_context import ForwardContext
from local_backend.layers.linear import Linear
from local_backend.models.decoder_layer import DecoderLayer
from local_backend.models.wiring import Wiring
from local_backend.store.tensor_shapes import mtp_prefix

__all__ = ["MTPModule"]


@dataclass(frozen=True, slots=True)
class MTPModule:
    """The module; holds parameters, no request state. Its layer is the pool's last.

    Attributes:
        embed_tokens, lm_head: The model's.
        enorm, hnorm: Norms of the token's embedding and of the hidden state.
        eh_proj: From both, joined, to the layer's input.
        norm: Before the output matrix ("shared_head.norm").
        eps: Of the norms.
    """

    kernels: Kernels
    embed_tokens: PackedWeight
    enorm: Tensor
    hnorm: Tensor
    eh_proj: Linear
    layer: DecoderLayer
    norm: Tensor
    lm_head: Linear
    eps: float

    @classmethod
    def build(cls, wiring: Wiring, embed_tokens: PackedWeight, lm_head: Linear) -> MTPModule:
        """Wire the module of a packed checkpoint.

        Args:
            wiring: Finds its pieces.
            embed_tokens, lm_head: The model's.
        """
        config, vectors = wiring.packed.config, wiring.packed.vectors
        prefix = mtp_prefix(config)
        return cls(
            kernels=wiring.kernels,
            embed_tokens=embed_tokens,
            enorm=vectors[f"{prefix}.enorm.weight"],
            hnorm=vectors[f"{prefix}.hnorm.weight"],
            eh_proj=Linear(wiring.packed.weights[f"{prefix}.eh_proj"], None, wiring.kernels),
            layer=DecoderLayer.build(wiring, config.num_hidden_layers),
            norm=vectors[f"{prefix}.shared_head.norm.weight"],
            lm_head=lm_head,
            eps=config.rms_norm_eps,
        )

    def forward(self, previous: Tensor, token_ids: Tensor, ctx: ForwardContext) -> tuple[Tensor, Tensor]:
        """Run positions whose hidden state and next token are known.

        Args:
            previous: (num_tokens, hidden_size) float32 hidden states, normalised.
            token_ids: (num_tokens,) the token after each position.
            ctx: Positions and slots are those of the hidden states.

        Returns:
            Of ctx.sampled_rows: normalised hidden states (num_sampled, hidden_size), to go on from, and
            float32 logits (num_sampled, vocab_size) of the token after `token_ids`.
        """
        kernels = self.kernels
        embedded = kernels.rms_norm(kernels.embedding(token_ids, self.embed_tokens), self.enorm, self.eps)
        joined = torch.cat((embedded, kernels.rms_norm(previous, self.hnorm, self.eps)), dim=1)
        hidden = self.eh_proj(joined).float()
        self.layer.run(hidden, ctx, kernels, self.eps)
        if not ctx.sampled_rows.numel():
            return hidden[:0], hidden[:0]
        last = kernels.rms_norm(hidden[ctx.sampled_rows], self.norm, self.eps)
        return last.float(), self.lm_head(last).float()
