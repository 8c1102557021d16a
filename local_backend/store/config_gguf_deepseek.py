"""The metadata of GGUF's `deepseek2` architecture, which holds V2, V2-Lite, V2.5, V3, R1 and V3.1.

As llama.cpp's converter writes it (convert_hf_to_gguf.py, DeepseekV2Model; keys: gguf/constants.py). What
it does not write is derived: a correction bias makes the gate V3's noaux_tc, groups make it V2's
group_limited_greedy. Files from before group keys were written (2025-10) have none; their experts are
chosen without groups then, as llama.cpp does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from local_backend.architecture import MLAConfig, ModelConfig, MoEConfig, RopeScaling, ScoringFunc, TopkMethod
from local_backend.store.config_checks import as_ids, check_known, reject_other_values

__all__ = ["DEEPSEEK_ARCHITECTURE", "deepseek_from_gguf"]

DEEPSEEK_ARCHITECTURE = "deepseek2"
_SCORING_FUNCS: dict[int, ScoringFunc] = {0: "softmax", 1: "softmax", 2: "sigmoid"}  # 0: not written
# The converter's legacy: yarn_log_multiplier is a tenth of mscale_all_dim for this architecture.
_LOG_MULTIPLIER = 0.1

_log = logging.getLogger(__name__)


def deepseek_from_gguf(
    metadata: Mapping[str, Any], *, vocab_size: int, tied: bool, correction_bias: bool
) -> ModelConfig:
    """Read the metadata of a deepseek2 file; call it inside `named_errors`.

    Args:
        metadata: All key-value pairs of the file.
        vocab_size: Rows of the embedding matrix.
        tied: True when the file has no output matrix of its own.
        correction_bias: Whether the file has `exp_probs_b` tensors.

    Raises:
        UnsupportedModelError: The gate or the rotary scaling is not implemented.
        KeyError: A required key is missing.
        ConfigError: Sizes contradict each other.
    """
    arch = DEEPSEEK_ARCHITECTURE
    heads = int(metadata[f"{arch}.attention.head_count"])
    mla = _mla(metadata)
    moe = _moe(metadata, correction_bias=correction_bias)
    is_v3 = moe is not None and (correction_bias or moe.scoring_func == "sigmoid")
    return ModelConfig(
        model_type="deepseek_v3" if is_v3 else "deepseek_v2",
        vocab_size=vocab_size,
        hidden_size=int(metadata[f"{arch}.embedding_length"]),
        intermediate_size=int(metadata[f"{arch}.feed_forward_length"]),
        num_hidden_layers=_num_layers(metadata),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=mla.qk_head_dim,
        max_position_embeddings=int(metadata[f"{arch}.context_length"]),
        rms_norm_eps=float(metadata[f"{arch}.attention.layer_norm_rms_epsilon"]),
        rope_theta=float(metadata.get(f"{arch}.rope.freq_base", 10000.0)),
        rope_scaling=_rope_scaling(metadata),
        tie_word_embeddings=tied,
        eos_token_ids=as_ids(metadata.get("tokenizer.ggml.eos_token_id")),
        mla=mla,
        moe=moe,
        num_nextn_predict_layers=min(1, _num_modules(metadata)),
    )


def _num_layers(metadata: Mapping[str, Any]) -> int:
    """block_count includes multi-token prediction modules when the converter kept them."""
    arch = DEEPSEEK_ARCHITECTURE
    return int(metadata[f"{arch}.block_count"]) - _num_modules(metadata)


def _num_modules(metadata: Mapping[str, Any]) -> int:
    return int(metadata.get(f"{DEEPSEEK_ARCHITECTURE}.nextn_predict_layers", 0))


def _mla(metadata: Mapping[str, Any]) -> MLAConfig:
    """Newer files describe the cached latent in key_length and the heads in key_length_mla."""
    prefix = f"{DEEPSEEK_ARCHITECTURE}.attention"
    suffix = "_mla" if f"{prefix}.key_length_mla" in metadata else ""
    rotary = int(metadata[f"{DEEPSEEK_ARCHITECTURE}.rope.dimension_count"])
    return MLAConfig(
        q_lora_rank=int(metadata.get(f"{prefix}.q_lora_rank", 0)) or None,
        kv_lora_rank=int(metadata[f"{prefix}.kv_lora_rank"]),
        qk_nope_head_dim=int(metadata[f"{prefix}.key_length{suffix}"]) - rotary,
        qk_rope_head_dim=rotary,
        v_head_dim=int(metadata[f"{prefix}.value_length{suffix}"]),
    )


def _moe(metadata: Mapping[str, Any], *, correction_bias: bool) -> MoEConfig | None:
    arch = DEEPSEEK_ARCHITECTURE
    experts = int(metadata.get(f"{arch}.expert_count", 0))
    if not experts:
        return None
    gating = metadata.get(f"{arch}.expert_gating_func", 0)
    check_known(f"{arch}.expert_gating_func", gating, _SCORING_FUNCS)
    if f"{arch}.expert_group_count" not in metadata:
        _log.info("%s.expert_group_count is not in the file: experts are chosen without groups", arch)
    groups = int(metadata.get(f"{arch}.expert_group_count", 0)) or 1
    topk_method: TopkMethod = "group_limited_greedy" if groups > 1 else "greedy"
    return MoEConfig(
        n_routed_experts=experts,
        num_experts_per_tok=int(metadata[f"{arch}.expert_used_count"]),
        moe_intermediate_size=int(metadata[f"{arch}.expert_feed_forward_length"]),
        n_shared_experts=int(metadata.get(f"{arch}.expert_shared_count", 0)),
        first_k_dense_replace=int(metadata.get(f"{arch}.leading_dense_block_count", 0)),
        topk_method="noaux_tc" if correction_bias else topk_method,
        scoring_func=_SCORING_FUNCS[gating],
        n_group=groups,
        topk_group=int(metadata.get(f"{arch}.expert_group_used_count", 0)) or 1,
        norm_topk_prob=bool(metadata.get(f"{arch}.expert_weights_norm", False)),
        routed_scaling_factor=float(metadata.get(f"{arch}.expert_weights_scale", 0.0)) or 1.0,
    )


def _rope_scaling(metadata: Mapping[str, Any]) -> RopeScaling | None:
    prefix = f"{DEEPSEEK_ARCHITECTURE}.rope.scaling"
    kind = metadata.get(f"{prefix}.type", "none")
    check_known(f"{prefix}.type", kind, ("none", "linear", "yarn"))
    if kind == "none":
        return None
    if kind == "linear":
        return RopeScaling(rope_type="linear", factor=float(metadata[f"{prefix}.factor"]))
    reject_other_values(
        metadata, {"attn_factor": 1.0, "yarn_attn_factor": 1.0, "yarn_ext_factor": 1.0}, f"{prefix}."
    )
    # mscale is not written; it equals mscale_all_dim in every published config, so they cancel out.
    log_multiplier = float(metadata.get(f"{prefix}.yarn_log_multiplier", 0.0))
    mscale = round(log_multiplier / _LOG_MULTIPLIER, 6)  # undoes the rounding to float32
    return RopeScaling(
        rope_type="yarn",
        factor=float(metadata[f"{prefix}.factor"]),
        original_max_position_embeddings=int(metadata[f"{prefix}.original_context_length"]),
        beta_fast=float(metadata.get(f"{prefix}.yarn_beta_fast", 32.0)),
        beta_slow=float(metadata.get(f"{prefix}.yarn_beta_slow", 1.0)),
        mscale=mscale or 1.0,
        mscale_all_dim=mscale,
    )
