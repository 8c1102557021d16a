"""Runs a model over differently kept latents and compares every position with exact ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from latent_model import record_attention
from torch import Tensor

from local_backend.cache.latent_pool import LatentPool
from local_backend.cache.pool import bytes_per_token
from local_backend.config import CacheDtype, EngineConfig
from local_backend.layers.forward_context import ForwardContext, Segment
from local_backend.layers.rope import rotary_table
from local_backend.models.decoder import Decoder

__all__ = ["METRICS", "Errors", "compare", "latent_pool"]

CHUNK = 512
EXACT = "exact"
METRICS = ("logits", "kl", "top1", "attention")
Errors = dict[str, Tensor]


def compare(
    model: Decoder, cases: Mapping[str, tuple[Decoder, LatentPool]], ids: Tensor
) -> dict[str, Errors]:
    """Errors of every position by case and metric, each (len(ids),).

    Args:
        model: Runs over float32 latents; the others are compared with it.
        cases: The same model, rotated or not, and what keeps its latents.
        ids: The text.
    """
    exact = (model, latent_pool(model, "float32", len(ids)))
    runs = {name: (*record_attention(case), pool) for name, (case, pool) in {EXACT: exact, **cases}.items()}
    rotary = rotary_table(model.config, len(ids))
    chunks: dict[str, list[Errors]] = {name: [] for name in cases}
    for first in range(0, len(ids), CHUNK):
        last = min(first + CHUNK, len(ids))
        outputs = {}
        for name, (recorded, attention_outputs, pool) in runs.items():
            ctx = ForwardContext(
                rotary=rotary[first:last],
                slot_mapping=(first, last),
                segments=(Segment(0, last - first, last, (0, last)),),
                sampled_rows=torch.arange(last - first),
                pool=pool,
                expert_counts=None,
                aborted=lambda: False,
            )
            outputs[name] = (recorded.forward(ids[first:last], ctx).logits, attention_outputs())
        for name, parts in chunks.items():
            parts.append(_position_errors(*outputs[name], *outputs[EXACT]))
    return {
        name: {metric: torch.cat([part[metric] for part in parts]) for metric in METRICS}
        for name, parts in chunks.items()
    }


def latent_pool(model: Decoder, dtype: CacheDtype, positions: int) -> LatentPool:
    """Allocate a pool for so many positions."""
    block = EngineConfig().block_size
    size = bytes_per_token(model.config, dtype) * -(-positions // block) * block
    engine = EngineConfig(cache_dtype=dtype, max_kv_bytes=size, max_model_len=positions)
    return LatentPool.allocate(model.config, engine, torch.float32)


def _position_errors(
    logits: Tensor, attention: Tensor, exact_logits: Tensor, exact_attention: Tensor
) -> Errors:
    """Compare rows: logit error over the logits' deviation, KL in nats, top-1, relative attention error."""
    log_p, log_q = exact_logits.log_softmax(-1), logits.log_softmax(-1)
    apart = (attention - exact_attention).norm(dim=-1) / exact_attention.norm(dim=-1)  # (layers, num_tokens)
    return {
        "logits": (logits - exact_logits).std(-1) / exact_logits.std(-1),
        "kl": (log_p.exp() * (log_p - log_q)).sum(-1).clamp_min(0),
        "top1": (logits.argmax(-1) == exact_logits.argmax(-1)).float(),
        "attention": apart.square().mean(0).sqrt(),
    }
