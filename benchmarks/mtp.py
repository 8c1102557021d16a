"""Drafts by a multi-token prediction module beside plain decoding, over how often its guesses come true.

No small model with such a module is published, so the weights are made up: V3's layers at V2-Lite's width,
twelve of them with fewer experts, and a module. All of their work is done, but the layers' outputs are zero,
so the next token depends on the last one alone, and a module that hands the embedding through is always
right. Noise on its last norm makes it err as often as one likes. Published for V3 itself: 85 to 90 % come
true (paper, section 5.4.3).

    .venv/bin/python benchmarks/mtp.py --noise 0,0.6,2,8
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from report import Measurement, argument_parser, print_report
from speculation import ELSEWHERE_BAR, Runs, Task, answer, details_of, ratio  # settles threads before torch

from local_backend.config import EngineConfig
from local_backend.engine.engine import Engine
from local_backend.kernels.dispatch import select_kernels
from local_backend.models.decoder import Decoder
from local_backend.sampling_params import SamplingParams
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.packed import WEIGHTS_FILE, pack_checkpoint
from local_backend.store.packed_file import read_packed_file
from local_backend.testing import toy_config, toy_foreseeing_tensors, write_toy_folder

LAYERS, VOCABULARY = 12, 32768
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 16,
    "num_experts_per_tok": 6,
    "n_shared_experts": 2,
    "n_group": 1,
    "topk_group": 1,
    "max_position_embeddings": 8192,
    "eos_token_id": None,
}
PROMPT_TOKENS = 64


def main() -> None:
    """Measure and print."""
    parser = argument_parser(__doc__)
    parser.add_argument("--noise", default="0,0.6,2,8", help="on the module's last norm (default: 0,0.6,2,8)")
    parser.add_argument("--decoded", type=int, default=192, help="tokens (default: 192)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        model = made_up_model(Path(scratch))
        levels = [float(noise) for noise in args.noise.split(",")]
        runs = {noise: measure(noisy(model, noise), noise, args) for noise in levels}
    rows = [row_of(noise, measured) for noise, measured in runs.items()]
    details = {str(noise): details_of(measured) for noise, measured in runs.items()}
    print_report("multi-token prediction", rows, as_json=args.json, details=details)


def made_up_model(scratch: Path) -> Decoder:
    """Write, pack in 4 bits and wire the model that the module knows all about."""
    print("making up and packing weights", file=sys.stderr)
    config = toy_config("deepseek_v3", **SHAPE)
    tensors = toy_foreseeing_tensors(config)
    folder = write_toy_folder(scratch / "model", config, tensors=tensors, dtype="bfloat16")
    del tensors
    kernels = select_kernels()
    pack_checkpoint(open_checkpoint(folder), kernels, "int4", scratch / "packed")
    return Decoder.build(read_packed_file(scratch / "packed" / WEIGHTS_FILE), kernels)


def noisy(model: Decoder, noise: float) -> Decoder:
    """Return the model with a module that errs."""
    assert model.mtp is not None
    wrong = torch.randn(model.mtp.norm.shape, generator=torch.Generator().manual_seed(0)) * noise
    return replace(model, mtp=replace(model.mtp, norm=model.mtp.norm * (1 + wrong)))


def measure(model: Decoder, noise: float, args: argparse.Namespace) -> dict[str, Runs]:
    """Let both ways answer in turns; other prompts in each round."""
    engines = {
        kind: Engine(model, EngineConfig(max_model_len=4096, speculation=mode, max_kv_bytes=1 << 28))
        for kind, mode in (("off", "off"), ("auto", "mtp"))
    }
    runs = {kind: Runs() for kind in engines}
    for number in range(args.rounds + 1):
        generator = torch.Generator().manual_seed(number)
        prompt = torch.randint(0, VOCABULARY, (PROMPT_TOKENS,), generator=generator).tolist()
        task = Task("", "", prompt, SamplingParams(temperature=0, max_tokens=args.decoded))
        for kind in list(engines) if number % 2 else list(reversed(engines)):
            print(f"measuring: noise {noise}, {kind}, round {number}", file=sys.stderr)
            answer(task, engines[kind], runs[kind] if number else Runs())  # the first warms up
    return runs


def row_of(noise: float, runs: dict[str, Runs]) -> Measurement:
    """How much faster, and how often guesses came true."""
    plain, ours = runs["off"], runs["auto"]
    accepted = f"{ours.accepted / ours.drafted:.0%} of {ours.drafted}" if ours.drafted else "none"
    tokens = sum(map(len, ours.outputs))
    same = sum(a == b for a, b in zip(ours.outputs, plain.outputs, strict=True))
    return Measurement(
        name=f"noise {noise:g}",
        value=ratio(runs),
        unit="x",
        limit=ELSEWHERE_BAR,
        kind="at least",
        note=(
            f"{min(ours.rates):.1f} - {max(ours.rates):.1f} against {min(plain.rates):.1f} - "
            f"{max(plain.rates):.1f} tokens/s; {tokens} tokens; drafts accepted: {accepted}; "
            f"same output in {same} of {len(ours.outputs)} rounds"
        ),
    )


if __name__ == "__main__":
    main()
