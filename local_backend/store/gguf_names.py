"""GGUF tensor names and layouts, translated to Hugging Face's (names: gguf/constants.py).

GGUF keeps the experts of a layer in one tensor, and newer files keep kv_b_proj as two, k_b and v_b.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from local_backend.store.gguf_header import GGUFTensor

__all__ = ["GGUFSource", "SplitKVB", "sources_by_hf_name"]

_TOP_LEVEL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
    "nextn.eh_proj": "eh_proj",
    "nextn.enorm": "enorm",
    "nextn.hnorm": "hnorm",
    "nextn.shared_head_norm": "shared_head.norm",
}
_EXPERTS = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}
_CORRECTION_BIAS = "exp_probs_b"
_STACKED = 3  # dimensions of a tensor that holds one matrix per expert or head


@dataclass(frozen=True, slots=True)
class SplitKVB:
    """kv_b_proj in two tensors, one matrix per head each.

    Attributes:
        k_b: (num_heads, kv_lora_rank, qk_nope_head_dim): the keys' part, transposed.
        v_b: (num_heads, v_head_dim, kv_lora_rank): the values' part.
    """

    k_b: GGUFTensor
    v_b: GGUFTensor

    @property
    def head_rows(self) -> int:
        """Rows of one head in kv_b_proj, those of its key first."""
        return self.k_b.shape[2] + self.v_b.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of kv_b_proj."""
        return self.k_b.shape[0] * self.head_rows, self.k_b.shape[1]


GGUFSource = GGUFTensor | SplitKVB


def sources_by_hf_name(tensors: Mapping[str, GGUFTensor]) -> dict[str, GGUFSource]:
    """Find what holds each Hugging Face tensor; a tensor that has no such name keeps its own."""
    sources: dict[str, GGUFSource] = {}
    for name, tensor in tensors.items():
        sources.update(_translated(name, tensor))
    for layer in [
        name.removesuffix("attn_k_b.weight") for name in tensors if name.endswith(".attn_k_b.weight")
    ]:
        key, value = f"{layer}attn_k_b.weight", f"{layer}attn_v_b.weight"
        whole = f"model.layers.{layer[4:]}self_attn.kv_b_proj.weight"
        if value in tensors and _is_split_pair(tensors[key], tensors[value]):
            sources.setdefault(whole, SplitKVB(tensors[key], tensors[value]))
            del sources[key], sources[value]
    return sources


def _translated(name: str, tensor: GGUFTensor) -> Iterator[tuple[str, GGUFTensor]]:
    match = re.fullmatch(r"blk\.(\d+)\.((?:nextn\.)?\w+)\.(weight|bias)", name)
    prefix = f"model.layers.{match[1]}" if match else ""
    if name in _TOP_LEVEL:
        yield _TOP_LEVEL[name], tensor
    elif match and match[2] in _IN_LAYER:
        yield f"{prefix}.{_IN_LAYER[match[2]]}.{match[3]}", tensor
    elif match and match[2] == _CORRECTION_BIAS:
        yield f"{prefix}.mlp.gate.e_score_correction_bias", tensor
    elif match and match[2] in _EXPERTS and _is_stacked(tensor):
        for number, expert in enumerate(_unstacked(tensor)):
            yield f"{prefix}.mlp.experts.{number}.{_EXPERTS[match[2]]}.{match[3]}", expert
    else:
        yield name, tensor


def _unstacked(tensor: GGUFTensor) -> Iterator[GGUFTensor]:
    """The matrices of a 3-D tensor, outermost dimension first."""
    size = (tensor.end - tensor.start) // tensor.shape[0]
    for start in range(tensor.start, tensor.end, size):
        yield GGUFTensor(tensor.shape[1:], tensor.kind, start, start + size)


def _is_split_pair(key: GGUFTensor, value: GGUFTensor) -> bool:
    if not (_is_stacked(key) and _is_stacked(value)):
        return False
    return key.shape[:2] == (value.shape[0], value.shape[2])


def _is_stacked(tensor: GGUFTensor) -> bool:
    return len(tensor.shape) == _STACKED and prod(tensor.shape) > 0
