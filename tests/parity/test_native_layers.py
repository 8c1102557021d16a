"""Whole models on native layers against the same quantised weights on reference kernels, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_model import LogitRecorder, build_model, drain, engine_logits, toy_config, toy_engine, write_folder

from local_backend.kernels.native_library import load_native
from local_backend.models.decoder import Decoder
from local_backend.sampling_params import SamplingParams

pytestmark = pytest.mark.skipif(load_native() is None, reason="the native kernels are not built")

# Whole groups of 32 and blocks of 16, as published models have them
WIDE = {"hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 6}
GROUPED = {**WIDE, "num_key_value_heads": 2, "head_dim": 32}
LATENT = {
    **WIDE,
    "num_key_value_heads": 6,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 48,
    "moe_intermediate_size": 64,
    "num_experts_per_tok": 8,  # all of them: rounding may else choose another
    "n_routed_experts": 8,
    "n_group": 1,
    "topk_group": 1,
}
MODELS: dict[str, dict[str, Any]] = {
    "qwen2": toy_config("qwen2", **GROUPED),
    "llama": toy_config("llama", **GROUPED),
    "deepseek_v2_lite": toy_config("deepseek_v2_lite", **LATENT),
    "deepseek_v2": toy_config("deepseek_v2", **LATENT, q_lora_rank=64),
    "deepseek_v3": toy_config("deepseek_v3", **LATENT, q_lora_rank=64),
}
PROMPT = torch.randint(0, 300, (400,), generator=torch.Generator().manual_seed(3)).tolist()


class Pair:
    """One checkpoint, quantised once and wired twice."""

    def __init__(self, name: str, scratch: Path) -> None:
        folder = write_folder(scratch / "toy", MODELS[name])
        self.native, self.reference = (
            build_model(folder, scratch / kernels, kernels=kernels, quantization="int8")
            for kernels in ("native", "reference")
        )


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp("native"))


def last_logits(model: Decoder, prompt: list[int], **options: Any) -> Tensor:
    engine = toy_engine(model, num_blocks=64, block_size=16, max_num_seqs=1, **options)
    return engine_logits(engine, prompt, max_tokens=1)[1]


def assert_close(logits: Tensor, expected: Tensor) -> None:
    """Activations, queries and latents of 8 bits; toys, whose scores are large, show 1 to 13 % of noise."""
    error = (logits - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() < 0.2


def test_every_layer_is_one_call_per_half(pair: Pair) -> None:
    layers = toy_engine(pair.native, block_size=16)._runner.model.layers
    assert all(layer.native_attention and layer.native_feed_forward for layer in layers)


@pytest.mark.parametrize("length", [1, 2, 16, 17, 45, 257, 400])
def test_a_prompt_at_once(pair: Pair, length: int) -> None:
    expected = last_logits(pair.reference, PROMPT[:length])
    assert_close(last_logits(pair.native, PROMPT[:length]), expected)


@pytest.mark.parametrize("chunk", [1, 7, 64, 300])
def test_a_prompt_in_pieces(pair: Pair, chunk: int) -> None:
    """Latents seen by few new rows, and by many."""
    expected = last_logits(pair.reference, PROMPT)
    assert_close(last_logits(pair.native, PROMPT, max_num_batched_tokens=chunk), expected)


def test_steps_and_prompts_of_a_batch(pair: Pair) -> None:
    """Sequences of all lengths beside each other: each as if it were alone."""
    prompts = [PROMPT[:300], PROMPT[7:10], PROMPT[50:90], PROMPT[100:101]]
    engine = toy_engine(pair.native, num_blocks=80, block_size=16, max_num_seqs=4, max_num_batched_tokens=64)
    recorders = [LogitRecorder() for _ in prompts]
    params = SamplingParams(temperature=0, max_tokens=6)
    sequences = [
        engine.new_sequence(prompt, params, constraint=recorder)
        for prompt, recorder in zip(prompts, recorders, strict=True)
    ]
    drain(engine, *sequences)
    for seq, recorder in zip(sequences, recorders, strict=True):
        for step, logits in enumerate(recorder.logits):
            seen = seq.token_ids[: seq.num_prompt_tokens + step]
            assert_close(logits[None], last_logits(pair.reference, seen))
