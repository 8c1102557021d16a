"""Which tensors a model of a given shape has, and which of its matrices are stored together.

Names are Hugging Face's. `*` stands for the number of a routed expert.
"""

from __future__ import annotations

from collections.abc import Iterable

from local_backend.architecture import MLAConfig, ModelConfig, MoEConfig

__all__ = ["MatrixStack", "expected_shapes", "expert_name", "matrix_stacks", "mtp_prefix", "unused_tensors"]

MatrixStack = tuple[str, ...]
Shapes = dict[str, tuple[int, ...]]


def expert_name(name: str, expert: int) -> str:
    """Put an expert's number into a name."""
    return name.replace("*", str(expert))


def matrix_stacks(config: ModelConfig) -> list[MatrixStack]:
    """Names, without ".weight", of all matrices; those that share their input may be stacked into one."""
    stacks: list[MatrixStack] = [("model.embed_tokens",)]
    for layer in range(config.num_cached_layers):
        prefix = f"model.layers.{layer}"
        parts = (
            (f"{prefix}.self_attn", _attention_stacks(config)),
            (f"{prefix}.mlp", _mlp_stacks(config, layer)),
        )
        stacks += [tuple(f"{block}.{part}" for part in stack) for block, inside in parts for stack in inside]
    if config.num_nextn_predict_layers:
        stacks.append((f"{mtp_prefix(config)}.eh_proj",))
    return stacks if config.tie_word_embeddings else [*stacks, ("lm_head",)]


def mtp_prefix(config: ModelConfig) -> str:
    """Name of the multi-token prediction module, which is stored as a layer past the last."""
    return f"model.layers.{config.num_hidden_layers}"


def _attention_stacks(config: ModelConfig) -> list[MatrixStack]:
    if config.mla is None:
        return [("q_proj", "k_proj", "v_proj"), ("o_proj",)]
    if config.mla.q_lora_rank is None:
        return [("q_proj", "kv_a_proj_with_mqa"), ("kv_b_proj",), ("o_proj",)]
    return [("q_a_proj", "kv_a_proj_with_mqa"), ("q_b_proj",), ("kv_b_proj",), ("o_proj",)]


def _mlp_stacks(config: ModelConfig, layer: int) -> list[MatrixStack]:
    if config.moe is None or not config.is_moe_layer(layer):
        prefixes = [""]
    else:
        prefixes = ["experts.*."] + ["shared_experts."] * (config.moe.n_shared_experts > 0)
    return [
        stack
        for prefix in prefixes
        for stack in ((f"{prefix}gate_proj", f"{prefix}up_proj"), (f"{prefix}down_proj",))
    ]


def expected_shapes(config: ModelConfig) -> Shapes:
    """Shape of every tensor of the model; those that end in ".bias" are optional."""
    hidden = config.hidden_size
    shapes: Shapes = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for layer in range(config.num_cached_layers):
        prefix = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}.{norm}.weight"] = (hidden,)
        attention = _gqa_shapes(config) if config.mla is None else _mla_shapes(config, config.mla)
        for name, shape in attention.items():
            shapes[f"{prefix}.self_attn.{name}"] = shape
        for name, shape in _mlp_shapes(config, layer).items():
            shapes[f"{prefix}.mlp.{name}"] = shape
    if config.num_nextn_predict_layers:
        module = mtp_prefix(config)
        shapes |= {f"{module}.{norm}.weight": (hidden,) for norm in ("enorm", "hnorm", "shared_head.norm")}
        shapes[f"{module}.eh_proj.weight"] = (hidden, 2 * hidden)
    shapes["model.norm.weight"] = (hidden,)
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    return shapes


def unused_tensors(config: ModelConfig, names: Iterable[str]) -> list[str]:
    """Tensors of a checkpoint that the model does not use, sorted."""
    return sorted(set(names) - expected_shapes(config).keys())


def _gqa_shapes(config: ModelConfig) -> Shapes:
    query = config.num_attention_heads * config.head_dim
    key = config.num_key_value_heads * config.head_dim
    hidden = config.hidden_size
    return _with_biases(
        {
            "q_proj": (query, hidden),
            "k_proj": (key, hidden),
            "v_proj": (key, hidden),
            "o_proj": (hidden, query),
        }
    )


def _mla_shapes(config: ModelConfig, mla: MLAConfig) -> Shapes:
    hidden, heads = config.hidden_size, config.num_attention_heads
    matrices: Shapes = {
        "kv_a_proj_with_mqa": (mla.cached_numbers, hidden),
        "kv_b_proj": (heads * (mla.qk_nope_head_dim + mla.v_head_dim), mla.kv_lora_rank),
        "o_proj": (hidden, heads * mla.v_head_dim),
    }
    norms: Shapes = {"kv_a_layernorm.weight": (mla.kv_lora_rank,)}
    if mla.q_lora_rank is None:
        matrices["q_proj"] = (heads * mla.qk_head_dim, hidden)
    else:
        matrices["q_a_proj"] = (mla.q_lora_rank, hidden)
        matrices["q_b_proj"] = (heads * mla.qk_head_dim, mla.q_lora_rank)
        norms["q_a_layernorm.weight"] = (mla.q_lora_rank,)
    return _with_biases(matrices) | norms


def _mlp_shapes(config: ModelConfig, layer: int) -> Shapes:
    if config.moe is None or not config.is_moe_layer(layer):
        return _with_biases(_swiglu(config.hidden_size, config.intermediate_size))
    return _moe_shapes(config.hidden_size, config.moe)


def _moe_shapes(hidden: int, moe: MoEConfig) -> Shapes:
    shapes: Shapes = {"gate.weight": (moe.n_routed_experts, hidden)}
    if moe.topk_method == "noaux_tc":
        shapes["gate.e_score_correction_bias"] = (moe.n_routed_experts,)
    expert = _swiglu(hidden, moe.moe_intermediate_size)
    for number in range(moe.n_routed_experts):
        shapes |= {f"experts.{number}.{name}.weight": shape for name, shape in expert.items()}
    if moe.n_shared_experts:
        shared = _swiglu(hidden, moe.moe_intermediate_size * moe.n_shared_experts)
        shapes |= {f"shared_experts.{name}.weight": shape for name, shape in shared.items()}
    return shapes


def _swiglu(hidden: int, inner: int) -> Shapes:
    return {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}


def _with_biases(matrices: Shapes) -> Shapes:
    weights = {f"{name}.weight": shape for name, shape in matrices.items()}
    return weights | {f"{name}.bias": shape[:1] for name, shape in matrices.items()}
