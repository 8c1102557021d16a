"""The shape of a model, frozen; names are Hugging Face config.json keys."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from local_backend.checks import check_choice, check_positive
from local_backend.errors import ConfigError

__all__ = [
    "MLAConfig",
    "MoEConfig",
    "ModelConfig",
    "RopeScaling",
    "ScoringFunc",
    "TopkMethod",
]

_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
TopkMethod = Literal["greedy", "group_limited_greedy", "noaux_tc"]
ScoringFunc = Literal["softmax", "sigmoid"]
_DAMAGED = "The checkpoint's config is damaged; fetch it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained context.

    Attributes:
        rope_type: "linear", "llama3", "yarn", or "factors" (one divisor per frequency, as GGUF stores them).
        factor: Stretch factor of linear, llama3 and yarn.
        low_freq_factor, high_freq_factor: llama3's band edges.
        original_max_position_embeddings: Trained context of llama3 and yarn.
        factors: The divisors themselves, length head_dim / 2, for "factors".
        beta_fast, beta_slow: yarn's band edges, in rotations over the trained context.
        mscale, mscale_all_dim: yarn's factors on attention (DeepSeek-V2, modeling_deepseek.py): rotary
            numbers are multiplied by m(mscale) / m(mscale_all_dim) and, when mscale_all_dim is not 0,
            scores by m(mscale_all_dim)^2, where m(x) = 0.1 * x * ln(factor) + 1.
    """

    rope_type: Literal["linear", "llama3", "factors", "yarn"]
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    factors: tuple[float, ...] = ()
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 1.0
    mscale_all_dim: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MLAConfig:
    """Multi-head latent attention (DeepSeek-V2 paper, section 2.1).

    Attributes:
        q_lora_rank: Width of the query latent; None when queries are projected directly.
        kv_lora_rank: Width of the cached key-value latent.
        qk_nope_head_dim, qk_rope_head_dim: The parts of a query head without and with rotary position.
        v_head_dim: Width of a value head.

    Raises:
        ConfigError: A size is not positive, or the rotary part is odd.
    """

    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None = None

    def __post_init__(self) -> None:
        check_positive(self, ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
        if self.q_lora_rank is not None:
            check_positive(self, ("q_lora_rank",))
        if self.qk_rope_head_dim % 2:
            raise ConfigError(
                f"qk_rope_head_dim={self.qk_rope_head_dim} is odd",
                help_message="Rotary embedding rotates pairs of numbers.",
            )

    @property
    def qk_head_dim(self) -> int:
        """Width of a query head."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def cached_numbers(self) -> int:
        """Numbers per token and layer in the cache: the latent and the shared rotary key."""
        return self.kv_lora_rank + self.qk_rope_head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class MoEConfig:
    """DeepSeekMoE: which layers have experts and how the gate chooses them.

    Attributes:
        n_shared_experts: Experts that every token uses; they are stored as one MLP of that many widths.
        first_k_dense_replace, moe_layer_freq: Layers before the first, or not a multiple of the second,
            keep a dense MLP.
        topk_method: "greedy", "group_limited_greedy" (V2: groups ranked by their best score) or "noaux_tc"
            (V3: groups ranked by their two best scores; a correction bias chooses, but does not weigh).
        norm_topk_prob, routed_scaling_factor: Rules on the chosen weights, see models/gate.py.

    Raises:
        ConfigError: Counts contradict each other.
    """

    n_routed_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    n_shared_experts: int = 0
    first_k_dense_replace: int = 0
    moe_layer_freq: int = 1
    topk_method: TopkMethod = "greedy"
    scoring_func: ScoringFunc = "softmax"
    n_group: int = 1
    topk_group: int = 1
    norm_topk_prob: bool = False
    routed_scaling_factor: float = 1.0

    def __post_init__(self) -> None:
        check_positive(
            self,
            (
                "n_routed_experts",
                "num_experts_per_tok",
                "moe_intermediate_size",
                "moe_layer_freq",
                "n_group",
                "topk_group",
            ),
        )
        for name, choices in (("topk_method", TopkMethod), ("scoring_func", ScoringFunc)):
            check_choice(self, name, get_args(choices))
        if self.n_routed_experts % self.n_group or self.topk_group > self.n_group:
            raise ConfigError(
                f"{self.n_routed_experts} experts cannot be cut into n_group={self.n_group} groups "
                f"of which topk_group={self.topk_group} are chosen",
                help_message=_DAMAGED,
            )
        reachable = self.n_routed_experts
        if self.topk_method != "greedy":
            reachable = reachable // self.n_group * self.topk_group
        if self.num_experts_per_tok > reachable:
            raise ConfigError(
                f"num_experts_per_tok={self.num_experts_per_tok}, but only {reachable} experts can be chosen",
                help_message=_DAMAGED,
            )
        if self.topk_method == "noaux_tc" and self.n_routed_experts // self.n_group < 2:
            raise ConfigError(
                f"groups of {self.n_routed_experts // self.n_group} expert cannot be ranked by two scores",
                help_message=_DAMAGED,
            )

    def is_moe_layer(self, layer: int) -> bool:
        """Whether a layer has experts."""
        return layer >= self.first_k_dense_replace and layer % self.moe_layer_freq == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Shape of a decoder; names are Hugging Face config.json keys.

    Attributes:
        head_dim: Width of a query head; with MLA its qk_head_dim.
        intermediate_size: Width of a dense MLP.
        mla: Latent attention; None is grouped-query attention.
        moe: Mixture of experts; None is a dense MLP in every layer.
        num_nextn_predict_layers: 1 with a multi-token prediction module, which guesses one token further
            (models/mtp.py) and stands behind the last layer, else 0.

    Raises:
        ConfigError: Sizes contradict each other.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = False
    eos_token_ids: tuple[int, ...] = field(default=())
    mla: MLAConfig | None = None
    moe: MoEConfig | None = None
    num_nextn_predict_layers: int = 0

    def __post_init__(self) -> None:
        check_positive(self, _SIZES)
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}",
                help_message="Check the checkpoint's config; grouped-query attention needs whole groups.",
            )
        if self.rotary_dim % 2:
            raise ConfigError(
                f"head_dim={self.head_dim} is odd", help_message="Rotary embedding rotates pairs of numbers."
            )
        if self.mla is not None and self.head_dim != self.mla.qk_head_dim:
            raise ConfigError(
                f"head_dim={self.head_dim}, but a latent attention head is {self.mla.qk_head_dim} wide",
                help_message=_DAMAGED,
            )
        factors = self.rope_scaling.factors if self.rope_scaling else ()
        if factors and len(factors) != self.rotary_dim // 2:
            raise ConfigError(
                f"{len(factors)} rotary factors for head_dim={self.rotary_dim}",
                help_message="There must be one per rotated pair; the checkpoint is damaged.",
            )

    @property
    def rotary_dim(self) -> int:
        """Numbers of a head that carry rotary position."""
        return self.head_dim if self.mla is None else self.mla.qk_rope_head_dim

    @property
    def num_cached_layers(self) -> int:
        """Layers that keep something per position: the model's, then the prediction module's."""
        return self.num_hidden_layers + self.num_nextn_predict_layers

    def without_mtp(self) -> ModelConfig:
        """Return the shape of the model alone."""
        return replace(self, num_nextn_predict_layers=0)

    def is_moe_layer(self, layer: int) -> bool:
        """Whether a layer has experts instead of a dense MLP."""
        return self.moe is not None and self.moe.is_moe_layer(layer)
