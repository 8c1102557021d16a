"""The keys of a config.json that only deepseek_v2 and deepseek_v3 have: latent attention, experts, YaRN.

A key that is absent has the default of DeepSeek's own configuration_deepseek.py (V2 and V3 differ); null
switches queries' latent, experts and groups off and is elsewhere as good as absent. Where transformers'
classes have another default (V2's n_routed_experts and n_shared_experts), DeepSeek's wins; all published
config.json files have those keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from local_backend.architecture import MLAConfig, MoEConfig, RopeScaling, ScoringFunc, TopkMethod
from local_backend.store.config_checks import check_known, reject_other_values

__all__ = [
    "DEEPSEEK_MODEL_TYPES",
    "mla_from_hf",
    "moe_from_hf",
    "rotates_halves",
    "with_defaults",
    "yarn_from_hf",
]

_ATTENTION = {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "deepseek_v2": {
        **_ATTENTION,
        "max_position_embeddings": 2048,
        "num_nextn_predict_layers": 0,
        "moe_intermediate_size": 1407,
        "n_routed_experts": None,
        "n_shared_experts": None,
        "first_k_dense_replace": 0,
        "topk_method": "greedy",
        "scoring_func": "softmax",
        "n_group": None,
        "topk_group": None,
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
    },
    "deepseek_v3": {
        **_ATTENTION,
        "max_position_embeddings": 4096,
        "num_nextn_predict_layers": 1,
        "moe_intermediate_size": 2048,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 3,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "n_group": 8,
        "topk_group": 4,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
    },
}
DEEPSEEK_MODEL_TYPES = tuple(_DEFAULTS)
_NULL_IS_OFF = frozenset({"q_lora_rank", "n_routed_experts", "n_shared_experts", "n_group", "topk_group"})


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fill absent keys in with the defaults of the config's model_type."""
    given = {key: value for key, value in config.items() if value is not None or key in _NULL_IS_OFF}
    return {**_DEFAULTS[config["model_type"]], **given}


def rotates_halves(config: Mapping[str, Any]) -> bool:
    """Whether rotary rows are stored as two halves (rope_interleave=false) and not as pairs.

    DeepSeek's published checkpoints have pairs, so that is the default.
    """
    return config.get("rope_interleave", True) is False


def mla_from_hf(config: Mapping[str, Any]) -> MLAConfig:
    """Read latent attention; q_lora_rank null projects queries directly (V2-Lite)."""
    q_lora_rank = config["q_lora_rank"]
    return MLAConfig(
        q_lora_rank=None if q_lora_rank is None else int(q_lora_rank),
        kv_lora_rank=int(config["kv_lora_rank"]),
        qk_nope_head_dim=int(config["qk_nope_head_dim"]),
        qk_rope_head_dim=int(config["qk_rope_head_dim"]),
        v_head_dim=int(config["v_head_dim"]),
    )


def moe_from_hf(config: Mapping[str, Any]) -> MoEConfig | None:
    """Read the experts; None when n_routed_experts is null.

    Raises:
        UnsupportedModelError: A gate or scoring function that is not implemented.
        ConfigError: Counts contradict each other.
    """
    if config["n_routed_experts"] is None:
        return None
    if config.get("num_experts_per_tok") is None:
        raise KeyError("num_experts_per_tok")
    check_known("topk_method", config["topk_method"], get_args(TopkMethod))
    check_known("scoring_func", config["scoring_func"], get_args(ScoringFunc))
    return MoEConfig(
        n_routed_experts=int(config["n_routed_experts"]),
        num_experts_per_tok=int(config["num_experts_per_tok"]),
        moe_intermediate_size=int(config["moe_intermediate_size"]),
        n_shared_experts=int(config["n_shared_experts"] or 0),
        first_k_dense_replace=int(config["first_k_dense_replace"] or 0),
        moe_layer_freq=int(config.get("moe_layer_freq") or 1),
        topk_method=config["topk_method"],
        scoring_func=config["scoring_func"],
        n_group=int(config["n_group"] or 1),
        topk_group=int(config["topk_group"] or 1),
        norm_topk_prob=bool(config["norm_topk_prob"]),
        routed_scaling_factor=float(config["routed_scaling_factor"]),
    )


def yarn_from_hf(rope: Mapping[str, Any]) -> RopeScaling:
    """Read YaRN as modeling_deepseek.py does: mscale is 1 and mscale_all_dim 0 when absent.

    Raises:
        UnsupportedModelError: An option that DeepSeek's code does not have.
    """
    reject_other_values(rope, {"attention_factor": None, "truncate": True})
    mscale, mscale_all_dim = rope.get("mscale"), rope.get("mscale_all_dim")
    return RopeScaling(
        rope_type="yarn",
        factor=float(rope["factor"]),
        original_max_position_embeddings=int(rope["original_max_position_embeddings"]),
        beta_fast=float(rope.get("beta_fast") or 32),
        beta_slow=float(rope.get("beta_slow") or 1),
        mscale=1.0 if mscale is None else float(mscale),
        mscale_all_dim=0.0 if mscale_all_dim is None else float(mscale_all_dim),
    )
