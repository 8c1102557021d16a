"""Name, cut and stack Hugging Face tensors as llama.cpp's converter does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["gguf_tensors"]

_TOP = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
_IN_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
    "eh_proj": "nextn.eh_proj",
    "enorm": "nextn.enorm",
    "hnorm": "nextn.hnorm",
    "embed_tokens": "nextn.embed_tokens",
    "shared_head.norm": "nextn.shared_head_norm",
    "shared_head.head": "nextn.shared_head_head",
}


def gguf_tensors(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, split_kv_b: bool
) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) as they stand in the file, outermost dimension first.

    llama's rotary rows are interleaved; DeepSeek's are already.

    Args:
        config: The config.json.
        tensors: By Hugging Face name.
        split_kv_b: Store kv_b_proj as attn_k_b, transposed per head, and attn_v_b; files made before
            April 2025 have one attn_kv_b.
    """
    experts: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[1] != "layers":
            yield f"{_TOP[parts[-2]]}.{parts[-1]}", tensor
            continue
        block, inside, kind = f"blk.{parts[2]}", ".".join(parts[3:-1]), parts[-1]
        if inside.startswith("mlp.experts."):
            stacked = f"{block}.{_IN_LAYER[f'mlp.{parts[6]}']}_exps.weight"
            experts.setdefault(stacked, {})[int(parts[5])] = tensor
        elif kind == "e_score_correction_bias":
            yield f"{block}.exp_probs_b.bias", tensor
        elif split_kv_b and inside == "self_attn.kv_b_proj":
            for half, heads in _split_kv_b(config, tensor).items():
                yield f"{block}.{half}.weight", heads
        else:
            yield f"{block}.{_IN_LAYER[inside]}.{kind}", _rotary_rows(config, inside, tensor)
    for name, by_number in experts.items():  # (n_routed_experts, rows, columns)
        yield name, torch.stack([by_number[number] for number in sorted(by_number)])


def _split_kv_b(config: Mapping[str, Any], tensor: Tensor) -> dict[str, Tensor]:
    sizes = [config["qk_nope_head_dim"], config["v_head_dim"]]
    heads = tensor.view(config["num_attention_heads"], sum(sizes), config["kv_lora_rank"])
    key, value = torch.split(heads, sizes, dim=1)
    return {
        "attn_k_b": key.transpose(1, 2).contiguous(),  # (num_heads, kv_lora_rank, qk_nope_head_dim)
        "attn_v_b": value.contiguous(),  # (num_heads, v_head_dim, kv_lora_rank)
    }


def _rotary_rows(config: Mapping[str, Any], inside: str, tensor: Tensor) -> Tensor:
    """Llama's query and key rows: the two halves of each head, interleaved."""
    heads = {
        "self_attn.q_proj": config["num_attention_heads"],
        "self_attn.k_proj": config["num_key_value_heads"],
    }
    if config["model_type"] != "llama" or inside not in heads:
        return tensor
    return tensor.view(heads[inside], 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
