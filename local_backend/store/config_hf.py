"""Read a ModelConfig out of a config.json; refuse what the models do not implement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_backend.architecture import ModelConfig, RopeScaling
from local_backend.errors import UnsupportedModelError
from local_backend.store.config_checks import as_ids, named_errors, reject_model_type, reject_other_values
from local_backend.store.config_hf_deepseek import (
    DEEPSEEK_MODEL_TYPES,
    mla_from_hf,
    moe_from_hf,
    with_defaults,
    yarn_from_hf,
)
from local_backend.store.fp8 import fp8_block_shape

__all__ = ["DENSE_MODEL_TYPES", "config_from_hf"]

DENSE_MODEL_TYPES = ("llama", "qwen2")
_ONLY = {
    "use_sliding_window": False,
    "hidden_act": "silu",
    "mlp_bias": False,
    "partial_rotary_factor": 1.0,
}


def config_from_hf(config: Mapping[str, Any]) -> ModelConfig:
    """Read a config.json.

    Keys that say nothing about the weights or the arithmetic (ep_size, aux_loss_alpha, ...) are not read. Of
    several multi-token prediction modules the first counts; a folder that says it has one need not have it.

    Raises:
        UnsupportedModelError: The architecture or one of its options is not implemented.
        ConfigError: A required key is missing, or a value makes no sense.
    """
    model_type = str(config.get("model_type", "missing"))
    reject_model_type(model_type, (*DENSE_MODEL_TYPES, *DEEPSEEK_MODEL_TYPES))
    reject_other_values(config, _ONLY)
    with named_errors():
        fp8_block_shape(config)
        is_deepseek = model_type in DEEPSEEK_MODEL_TYPES
        config = with_defaults(config) if is_deepseek else config
        heads = int(config["num_attention_heads"])
        hidden_size = int(config["hidden_size"])
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        mla = mla_from_hf(config) if is_deepseek else None
        return ModelConfig(
            model_type=model_type,
            vocab_size=int(config["vocab_size"]),
            hidden_size=hidden_size,
            intermediate_size=int(config["intermediate_size"]),
            num_hidden_layers=int(config["num_hidden_layers"]),
            num_attention_heads=heads,
            num_key_value_heads=heads if mla else int(config.get("num_key_value_heads") or heads),
            head_dim=mla.qk_head_dim if mla else int(config.get("head_dim") or hidden_size // heads),
            max_position_embeddings=int(config.get("max_position_embeddings", 2048)),
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=float(config.get("rope_theta", rope.get("rope_theta", 10000.0))),
            rope_scaling=_rope_scaling(rope, is_deepseek=is_deepseek),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            eos_token_ids=as_ids(config.get("eos_token_id")),
            mla=mla,
            moe=moe_from_hf(config) if is_deepseek else None,
            num_nextn_predict_layers=min(1, int(config["num_nextn_predict_layers"])) if is_deepseek else 0,
        )


def _rope_scaling(rope: Mapping[str, Any], *, is_deepseek: bool) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling(rope_type="linear", factor=float(rope["factor"]))
    if kind == "yarn" and is_deepseek:
        return yarn_from_hf(rope)
    if kind == "llama3" and not is_deepseek:
        return RopeScaling(
            rope_type="llama3",
            factor=float(rope["factor"]),
            low_freq_factor=float(rope["low_freq_factor"]),
            high_freq_factor=float(rope["high_freq_factor"]),
            original_max_position_embeddings=int(rope["original_max_position_embeddings"]),
        )
    raise UnsupportedModelError(
        f"rope scaling {kind!r} is not supported",
        help_message=f"Supported: default, linear, {'yarn' if is_deepseek else 'llama3'}.",
    )
