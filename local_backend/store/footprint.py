"""How large a model is, from its shape alone: parameters, and numbers in the cache. Knows no file.

Bytes of packed weights are store/packed_size.py's business, bytes of the cache cache/sizing.py's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from local_backend.architecture import ModelConfig
from local_backend.store.tensor_shapes import expected_shapes

__all__ = ["CacheNumbers", "ParameterCount", "cache_numbers", "count_parameters", "reduction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCount:
    """Parameters of a model; optional biases and a multi-token prediction module are left out.

    Attributes:
        total: All of them. The embedding counts once where the output matrix is tied to it, else both count.
        active: Those that one token multiplies with: everything but the experts it is not sent to, and but
            the embedding, of which it reads one row. A tied embedding counts, as the output matrix it is.
        embedding: The input embedding.
        experts: All routed experts together; 0 for a dense model.
    """

    total: int
    active: int
    embedding: int
    experts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheNumbers:
    """Numbers that one token leaves in the cache, over all layers.

    Attributes:
        kept: What this model keeps: the latent and its rotary key, or keys and values of its own heads.
        multi_head: What plain multi-head attention with the same query heads would keep: a key and a value
            for each of them.
    """

    kept: int
    multi_head: int


def count_parameters(config: ModelConfig) -> ParameterCount:
    """Count a model's parameters, in all and per token."""
    sizes = {
        name: math.prod(shape)
        for name, shape in expected_shapes(config.without_mtp()).items()
        if not name.endswith(".bias")
    }
    total = sum(sizes.values())
    embedding = config.vocab_size * config.hidden_size
    experts = sum(size for name, size in sizes.items() if ".mlp.experts." in name)
    idle = 0
    if config.moe is not None:
        idle = experts // config.moe.n_routed_experts
        idle *= config.moe.n_routed_experts - config.moe.num_experts_per_tok
    unread = 0 if config.tie_word_embeddings else embedding - config.hidden_size
    return ParameterCount(total=total, active=total - idle - unread, embedding=embedding, experts=experts)


def cache_numbers(config: ModelConfig) -> CacheNumbers:
    """Count what one token leaves in the cache."""
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    if config.mla is None:
        head = 2 * config.head_dim
        return CacheNumbers(kept=layers * config.num_key_value_heads * head, multi_head=layers * heads * head)
    head = config.mla.qk_head_dim + config.mla.v_head_dim
    return CacheNumbers(kept=layers * config.mla.cached_numbers, multi_head=layers * heads * head)


def reduction(size: float, other: float) -> float:
    """Return how much smaller size is than other, as a fraction of other; negative when it is larger."""
    return 1 - size / other
