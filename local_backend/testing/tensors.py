"""Seeded random weights under Hugging Face names, complete for a config; float32, scaled to stay sane.

The list of names is written out here, apart from the engine's own (store/tensor_shapes.py), so that a toy
checks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["toy_foreseeing_tensors", "toy_mtp_tensors", "toy_tensors"]

Tensors = dict[str, Tensor]


def toy_tensors(config: Mapping[str, Any], seed: int = 0) -> Tensors:
    """Return every tensor of the model that a config.json describes; the same seed gives the same numbers.

    qwen2 has query, key and value biases; attention_bias adds those of the family.
    """
    maker = _Maker(config, seed)
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    tensors = {
        "model.embed_tokens.weight": maker.matrix(vocab, hidden),
        "model.norm.weight": maker.norm(hidden),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in _layer(maker, layer).items()}
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = maker.matrix(vocab, hidden)
    return tensors


def toy_mtp_tensors(config: Mapping[str, Any], seed: int = 0) -> Tensors:
    """Return the multi-token prediction module that DeepSeek-V3 stores as one layer past the last."""
    maker = _Maker(config, seed + 1)
    hidden, vocab, layer = config["hidden_size"], config["vocab_size"], config["num_hidden_layers"]
    module = {
        "embed_tokens.weight": maker.matrix(vocab, hidden),
        "enorm.weight": maker.norm(hidden),
        "hnorm.weight": maker.norm(hidden),
        "eh_proj.weight": maker.matrix(hidden, 2 * hidden),
        "shared_head.norm.weight": maker.norm(hidden),
        "shared_head.head.weight": maker.matrix(vocab, hidden),
        **_layer(maker, layer),
    }
    return {f"model.layers.{layer}.{name}": tensor for name, tensor in module.items()}


def toy_foreseeing_tensors(config: Mapping[str, Any], seed: int = 0) -> Tensors:
    """Return a DeepSeek-V3 whose prediction module is always right, module included.

    All layers add nothing, so the next token depends on the last one alone; the module hands the embedding
    through, as the model does.
    """
    tensors = toy_tensors(config, seed) | toy_mtp_tensors(config, seed)
    for name, tensor in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor.zero_()
    size, module = config["hidden_size"], f"model.layers.{config['num_hidden_layers']}"
    tensors[f"{module}.eh_proj.weight"] = torch.cat((torch.eye(size), torch.zeros(size, size)), dim=1)
    tensors[f"{module}.enorm.weight"] = torch.ones(size)
    tensors[f"{module}.shared_head.norm.weight"] = tensors["model.norm.weight"].clone()
    return tensors


class _Maker:
    """Draws tensors one after the other."""

    def __init__(self, config: Mapping[str, Any], seed: int) -> None:
        self.config = config
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: float = 0.15) -> Tensor:
        """Draw with standard deviation `scale`."""
        return torch.randn(shape, generator=self._generator) * scale

    def matrix(self, rows: int, columns: int) -> Tensor:
        """Draw a matrix; a wide one smaller, so that it about keeps the size of what it multiplies."""
        return self.normal(rows, columns, scale=0.15 * min(1.0, (256 / columns) ** 0.5))

    def norm(self, size: int) -> Tensor:
        """Draw a norm's weight."""
        return 1 + self.normal(size)


def _layer(maker: _Maker, layer: int) -> Tensors:
    hidden = maker.config["hidden_size"]
    attention = _latent_attention(maker) if "kv_lora_rank" in maker.config else _grouped_attention(maker)
    mlp = _experts(maker) if _has_experts(maker.config, layer) else _swiglu(maker, "intermediate_size")
    return {
        **{f"self_attn.{name}": tensor for name, tensor in attention.items()},
        **{f"mlp.{name}": tensor for name, tensor in mlp.items()},
        "input_layernorm.weight": maker.norm(hidden),
        "post_attention_layernorm.weight": maker.norm(hidden),
    }


def _has_experts(config: Mapping[str, Any], layer: int) -> bool:
    if not config.get("n_routed_experts"):
        return False
    first, every = int(config.get("first_k_dense_replace", 0)), int(config.get("moe_layer_freq", 1))
    return layer >= first and layer % every == 0


def _grouped_attention(maker: _Maker) -> Tensors:
    config, hidden = maker.config, maker.config["hidden_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    query, key = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    tensors: Tensors = {}
    for name, rows in (("q_proj", query), ("k_proj", key), ("v_proj", key)):
        tensors[f"{name}.weight"] = maker.matrix(rows, hidden)
        if config["model_type"] == "qwen2" or config.get("attention_bias"):
            tensors[f"{name}.bias"] = maker.normal(rows, scale=0.5)
    tensors["o_proj.weight"] = maker.matrix(hidden, query)
    if config.get("attention_bias"):
        tensors["o_proj.bias"] = maker.normal(hidden, scale=0.5)
    return tensors


def _latent_attention(maker: _Maker) -> Tensors:
    config, hidden = maker.config, maker.config["hidden_size"]
    heads, q_lora_rank, latent = config["num_attention_heads"], config["q_lora_rank"], config["kv_lora_rank"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    tensors: Tensors = {}
    if q_lora_rank is None:
        tensors["q_proj.weight"] = maker.matrix(heads * (nope + rope), hidden)
    else:
        tensors["q_a_proj.weight"] = maker.matrix(q_lora_rank, hidden)
        tensors["q_a_layernorm.weight"] = maker.norm(q_lora_rank)
        tensors["q_b_proj.weight"] = maker.matrix(heads * (nope + rope), q_lora_rank)
    tensors["kv_a_proj_with_mqa.weight"] = maker.matrix(latent + rope, hidden)
    tensors["kv_a_layernorm.weight"] = maker.norm(latent)
    tensors["kv_b_proj.weight"] = maker.matrix(heads * (nope + value), latent)
    tensors["o_proj.weight"] = maker.matrix(hidden, heads * value)
    if config.get("attention_bias"):
        for name in ("q_a_proj", "kv_a_proj_with_mqa", "o_proj"):
            if f"{name}.weight" in tensors:
                tensors[f"{name}.bias"] = maker.normal(len(tensors[f"{name}.weight"]), scale=0.5)
    return tensors


def _experts(maker: _Maker) -> Tensors:
    config, hidden = maker.config, maker.config["hidden_size"]
    inner, count = config["moe_intermediate_size"], config["n_routed_experts"]
    tensors = {"gate.weight": maker.matrix(count, hidden)}
    if config["topk_method"] == "noaux_tc":
        tensors["gate.e_score_correction_bias"] = maker.normal(count, scale=0.2)
    blocks = {f"experts.{number}": inner for number in range(count)}
    if config.get("n_shared_experts"):
        blocks["shared_experts"] = inner * config["n_shared_experts"]
    for block, width in blocks.items():
        tensors |= {f"{block}.{name}": tensor for name, tensor in _swiglu_of_width(maker, width).items()}
    return tensors


def _swiglu(maker: _Maker, width_key: str) -> Tensors:
    return _swiglu_of_width(maker, maker.config[width_key])


def _swiglu_of_width(maker: _Maker, width: int) -> Tensors:
    hidden = maker.config["hidden_size"]
    return {
        "gate_proj.weight": maker.matrix(width, hidden),
        "up_proj.weight": maker.matrix(width, hidden),
        "down_proj.weight": maker.matrix(hidden, width),
    }
