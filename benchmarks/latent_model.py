"""Seeded models of DeepSeek-V2-Lite's attention width: one plain, one hard on a rounded cache.

There is no trained checkpoint to measure with, and plain random weights may flatter: nothing in their latents
stands out. Both models have heads whose scores have standard deviations from 0.5 to 4, so that some attend to
a handful of positions, attention that writes as much to the residual stream as the token itself, and logits
with a standard deviation of 3, about what makes a language model's entropy. The hard one besides

- has channels of the latent that differ by a log-normal factor, six of them ten times larger still: two by
  the rows that write them, two by the norm's weight, and two because their rows point the way in which all
  hidden states lean, which the size of the weights does not show. What reads them undoes that, so the small
  neighbours of an outlier matter as much as the outlier itself;
- has slow pairs in the rotary key thirty times larger than the others, two by their rows and one by that
  lean: SnapMLA (arXiv 2602.10718) found that trained models' rotary keys have outliers and reach 1000.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.kernels.dispatch import select_kernels
from local_backend.layers.forward_context import ForwardContext
from local_backend.models.decoder import Decoder
from local_backend.models.decoder_layer import Attention
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.model_config import config_from_hf
from local_backend.store.packed import WEIGHTS_FILE, pack_checkpoint
from local_backend.store.packed_file import read_packed_file
from local_backend.store.tensor_shapes import expected_shapes
from local_backend.testing import write_toy_folder

__all__ = ["RecordingAttention", "build_model", "record_attention"]

HEADS, NOPE, ROPE, RANK, HIDDEN = 16, 128, 64, 512, 2048
SHARPNESS = torch.logspace(-1, 2, HEADS, base=2)  # standard deviations of the heads' scores
LOGIT_DEVIATION = 3.0
ATTENTION_GAIN = 8.0  # averages over many positions are small
CHANNEL_FACTOR = 10.0
SLOW_PAIRS, SLOW_FACTOR = 3, 30.0
LEAN = 20.0  # of embeddings about 45 long, along one direction


def build_model(vocab_size: int, layers: int, seed: int, *, hard: bool) -> Decoder:
    """Return the model in float32, unquantised, on the reference kernels."""
    settings = {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "vocab_size": vocab_size,
        "hidden_size": HIDDEN,
        "intermediate_size": 1024,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 163840,
        "rope_theta": 10000.0,
        "q_lora_rank": None,
        "kv_lora_rank": RANK,
        "qk_nope_head_dim": NOPE,
        "qk_rope_head_dim": ROPE,
        "v_head_dim": NOPE,
        "n_routed_experts": None,
        "tie_word_embeddings": False,
    }
    kernels = select_kernels("reference")
    with tempfile.TemporaryDirectory(prefix="deepseek-apps-latent-") as scratch:
        weights = _weights(config_from_hf(settings), seed, hard)
        folder = write_toy_folder(Path(scratch) / "source", settings, tensors=weights)
        pack_checkpoint(open_checkpoint(folder), kernels, "none", Path(scratch))
        return Decoder.build(read_packed_file(Path(scratch) / WEIGHTS_FILE), kernels)


def _weights(config: ModelConfig, seed: int, hard: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.ones(shape) if "norm" in name else _normal(shape, generator) / shape[-1] ** 0.5
        for name, shape in expected_shapes(config).items()
        if not name.endswith(".bias")
    }
    tensors["model.embed_tokens.weight"] *= HIDDEN**0.5
    tensors["lm_head.weight"] *= LOGIT_DEVIATION
    if hard:
        tensors["model.embed_tokens.weight"] += LEAN * _direction()
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        # Every number of queries and keys is near 1, and so are scores, before this.
        query = tensors[f"{prefix}.self_attn.q_proj.weight"].view(HEADS, NOPE + ROPE, HIDDEN)
        query *= SHARPNESS[:, None, None]
        if hard:
            _add_outliers(tensors, f"{prefix}.self_attn", query, generator)
        for name, gain in (("self_attn.o_proj", ATTENTION_GAIN), ("mlp.down_proj", 1.0)):
            tensors[f"{prefix}.{name}.weight"] *= gain * (2 * config.num_hidden_layers) ** -0.5
    return tensors


def _add_outliers(tensors: dict[str, Tensor], prefix: str, query: Tensor, generator: torch.Generator) -> None:
    into_latent = tensors[f"{prefix}.kv_a_proj_with_mqa.weight"]
    written, weight = (torch.exp(0.35 * _normal((RANK,), generator)) for _ in range(2))
    large = torch.randperm(RANK, generator=generator)[:6]
    written[large[:2]] *= CHANNEL_FACTOR
    weight[large[2:4]] *= CHANNEL_FACTOR
    undone = written * weight
    undone[large[4:]] *= CHANNEL_FACTOR
    into_latent[:RANK] *= written[:, None]
    into_latent[large[4:]] += _leaning(CHANNEL_FACTOR) * written[large[4:], None]
    tensors[f"{prefix}.kv_a_layernorm.weight"] *= weight
    tensors[f"{prefix}.kv_b_proj.weight"] /= undone / undone.square().mean().sqrt()  # after the norm
    pairs = torch.exp(0.5 * _normal((ROPE // 2,), generator))
    pairs[-SLOW_PAIRS:] *= SLOW_FACTOR
    numbers = pairs.repeat_interleave(2)[:, None]
    query[:, NOPE:] /= numbers
    numbers[-2:] /= SLOW_FACTOR
    into_latent[RANK:] *= numbers
    into_latent[-2:] += _leaning(SLOW_FACTOR) * numbers[-2:]


def _direction() -> Tensor:
    """Return the way in which hidden states lean, 1 long."""
    return torch.nn.functional.normalize(_normal((HIDDEN,), torch.Generator().manual_seed(1)), dim=0)


def _leaning(size: float) -> Tensor:
    """What a row must contain to be so large for every hidden state, about."""
    share = LEAN / (HIDDEN + LEAN**2) ** 0.5
    return _direction() * size / (share * HIDDEN**0.5)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


class RecordingAttention:
    """An attention that keeps its last output."""

    def __init__(self, inner: Attention) -> None:
        self._inner = inner
        self.output = torch.empty(0)

    def __call__(self, hidden: Tensor, ctx: ForwardContext) -> Tensor:
        """Attend and keep the result."""
        self.output = self._inner(hidden, ctx)
        return self.output


def record_attention(model: Decoder) -> tuple[Decoder, Callable[[], Tensor]]:
    """Return the same model with its attention recorded, and what reads the record.

    The record is (layers, num_tokens, hidden_size) of the last forward pass.
    """
    recorders = [RecordingAttention(layer.attention) for layer in model.layers]
    layers = tuple(
        replace(layer, attention=recorder) for layer, recorder in zip(model.layers, recorders, strict=True)
    )
    return replace(model, layers=layers), lambda: torch.stack([recorder.output for recorder in recorders])
