"""The key-value pairs that llama.cpp's converter writes for a config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import ExpertGatingFuncType, GGUFWriter, RopeScalingType, TokenType

from local_backend.errors import ConfigError
from local_backend.testing.vocabulary import toy_vocabulary

__all__ = ["add_model_keys", "add_tokenizer_keys", "gguf_architecture", "rope_settings"]

_GATING = {"softmax": ExpertGatingFuncType.SOFTMAX, "sigmoid": ExpertGatingFuncType.SIGMOID}


def gguf_architecture(config: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of the architecture; V2 and V3 share one."""
    return "deepseek2" if "kv_lora_rank" in config else str(config["model_type"])


def rope_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return rotary settings under the newer keys, whichever the config uses; `rope_theta` among them."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    return {**rope, "rope_type": rope.get("rope_type", rope.get("type", "default")), "rope_theta": theta}


def add_model_keys(writer: GGUFWriter, config: Mapping[str, Any], *, split_kv_b: bool, mtp: bool) -> None:
    """Write the shape of the model.

    Args:
        writer: Of the file.
        config: The config.json.
        split_kv_b: Whether kv_b_proj is stored in two; llama.cpp then computes with one key head.
        mtp: Whether a multi-token prediction module stands behind the last layer.

    Raises:
        ConfigError: The format cannot say what the config does.
    """
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"] + mtp)
    if mtp:
        writer.add_nextn_predict_layers(1)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if "kv_lora_rank" in config:
        _add_latent_attention(writer, config, split_kv_b)
        _add_experts(writer, config)
    else:
        writer.add_head_count_kv(config["num_key_value_heads"])
    _add_rope(writer, config)


def _add_latent_attention(writer: GGUFWriter, config: Mapping[str, Any], split_kv_b: bool) -> None:
    key, value = config["qk_nope_head_dim"] + config["qk_rope_head_dim"], config["v_head_dim"]
    if split_kv_b:  # as computed: one key head, as wide as what is cached
        writer.add_head_count_kv(1)
        writer.add_key_length(config["kv_lora_rank"] + config["qk_rope_head_dim"])
        writer.add_value_length(config["kv_lora_rank"])
        writer.add_key_length_mla(key)
        writer.add_value_length_mla(value)
    else:
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_key_length(key)
        writer.add_value_length(value)
    # The converter leaves 0 out and llama.cpp knows V2-Lite by its 27 layers, which a toy has not.
    writer.add_q_lora_rank(config["q_lora_rank"] or 0)
    writer.add_kv_lora_rank(config["kv_lora_rank"])
    writer.add_rope_dimension_count(config["qk_rope_head_dim"])


def _add_experts(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    if config.get("moe_layer_freq", 1) != 1:
        raise ConfigError(
            f"moe_layer_freq={config['moe_layer_freq']} cannot be said in a GGUF file",
            help_message="Write a Hugging Face folder.",
        )
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_shared_count(config.get("n_shared_experts") or 0)
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(config["norm_topk_prob"])
    writer.add_expert_gating_func(_GATING[config["scoring_func"]])
    writer.add_expert_group_count(config["n_group"])
    writer.add_expert_group_used_count(config["topk_group"])


def _add_rope(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    rope = rope_settings(config)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_divisors(config, rope))
    elif rope["rope_type"] == "yarn":
        _add_yarn(writer, rope)


def _add_yarn(writer: GGUFWriter, rope: Mapping[str, Any]) -> None:
    mscale, mscale_all_dim = rope.get("mscale", 1.0), rope.get("mscale_all_dim", 0.0)
    if mscale != mscale_all_dim:
        raise ConfigError(
            f"mscale={mscale} beside mscale_all_dim={mscale_all_dim} cannot be said in a GGUF file",
            help_message="Write a Hugging Face folder, or make them equal.",
        )
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_beta_fast(rope.get("beta_fast", 32))
    writer.add_rope_scaling_yarn_beta_slow(rope.get("beta_slow", 1))
    writer.add_rope_scaling_yarn_log_mul(0.1 * mscale_all_dim)  # a tenth, by an old convention


def _llama3_divisors(config: Mapping[str, Any], rope: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """One divisor per rotated pair: llama3's bands, which the format has no keys for."""
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    wavelengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
    bands = (rope["original_max_position_embeddings"] / wavelengths - low) / (high - low)
    smooth = np.clip(bands, 0, 1)
    return np.asarray(1 / ((1 - smooth) / rope["factor"] + smooth), dtype=np.float32)


def add_tokenizer_keys(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    """Write the toy vocabulary of the family, padded to the model's vocab_size."""
    metadata = toy_vocabulary(str(config["model_type"]))
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    padding = config["vocab_size"] - len(tokens)
    writer.add_tokenizer_model(metadata["tokenizer.ggml.model"])
    writer.add_tokenizer_pre(metadata["tokenizer.ggml.pre"])
    writer.add_token_list([*tokens, *(f"[PAD{i}]" for i in range(padding))])
    writer.add_token_types([*types, *[TokenType.UNUSED] * padding])
    writer.add_token_merges(metadata["tokenizer.ggml.merges"])
    writer.add_eos_token_id(metadata["tokenizer.ggml.eos_token_id"])
    writer.add_bos_token_id(metadata["tokenizer.ggml.bos_token_id"])
    writer.add_add_bos_token(metadata["tokenizer.ggml.add_bos_token"])
    writer.add_chat_template(metadata["tokenizer.chat_template"])
