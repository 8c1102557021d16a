"""V3's prediction module in the engine against the oracle's, position by position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from parity.deepseek_cases import PROMPT, endless
from parity.deepseek_oracle import oracle_hidden, oracle_mtp
from torch import Tensor
from toy_model import build_model, drain, toy_engine, toy_tensors

from local_backend.engine.engine import Engine
from local_backend.engine.model_runner import SequenceRows
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence
from local_backend.testing import toy_mtp_tensors, write_toy_folder, write_toy_gguf

CONFIG = endless("deepseek_v3")
WEIGHTS = {
    name: t.double() for name, t in (toy_mtp_tensors(CONFIG, seed=0) | toy_tensors(CONFIG, seed=0)).items()
}


class Recorder:
    """Keeps what the module computed, by position; a later value takes an earlier one's place."""

    def __init__(self, engine: Engine) -> None:
        self.logits: dict[int, Tensor] = {}
        self._run = engine._runner.run_mtp
        engine._runner.run_mtp = self.run  # type: ignore[method-assign]

    def run(self, rows: list[SequenceRows], previous: Tensor) -> tuple[Tensor, Tensor]:
        everything = [SequenceRows(r.block_table, r.start, r.token_ids, len(r.token_ids)) for r in rows]
        states, logits = self._run(everything, previous)
        kept, first = [], 0
        for row in rows:
            last = first + len(row.token_ids)
            kept += range(last - row.samples, last)
            self.logits |= dict(zip(range(row.start, row.stop), logits[first:last], strict=True))
            first = last
        return states[kept], logits[kept]


def engine_of(path: Path, scratch: Path, kernels: str = "reference", **options: Any) -> Engine:
    options = {"speculation": "mtp", "max_num_seqs": 4, **options}
    return toy_engine(build_model(path, scratch / "packed", kernels=kernels), num_blocks=200, **options)


def finished(engine: Engine, prompt: list[int], max_tokens: int) -> Sequence:
    seq = engine.new_sequence(prompt, SamplingParams(temperature=0, max_tokens=max_tokens))
    drain(engine, seq)
    return seq


def expected(ids: list[int]) -> Tensor:
    """Logits of the module at every position but the last."""
    hidden = oracle_hidden(CONFIG, WEIGHTS, ids[:-1])
    return oracle_mtp(CONFIG, WEIGHTS, hidden, ids[1:])[1].float()


@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("source", ["folder", "gguf"])
def test_every_position_of_prompt_and_answer(source: str, chunk: int | None, tmp_path: Path) -> None:
    write = {"folder": write_toy_folder, "gguf": write_toy_gguf}[source]
    path = write(tmp_path / "toy.gguf", CONFIG, mtp=True)
    engine = engine_of(path, tmp_path, max_num_batched_tokens=chunk)
    recorder = Recorder(engine)
    seq = finished(engine, PROMPT, 12)
    logits = expected(seq.token_ids)
    count = len(seq) - 2  # the last pass's position has no token behind it that anyone waits for
    ours = torch.stack([recorder.logits[position] for position in range(count)])
    torch.testing.assert_close(ours, logits[:count], atol=1e-4, rtol=0)


def test_going_on_from_its_own_guess(folder: Path, tmp_path: Path) -> None:
    engine = engine_of(folder, tmp_path)
    seq = engine.new_sequence(PROMPT[:-3], SamplingParams(temperature=0, max_tokens=9))
    engine.add(seq)
    engine.step()
    drafter = engine._speculator._drafter
    assert drafter is not None
    for _ in range(3):
        drafter.extend([seq])
    ours = drafter.guess(seq)
    states = oracle_hidden(CONFIG, WEIGHTS, seq.token_ids[:-1])
    ids, guesses = seq.token_ids[1:], []
    while len(guesses) < len(ours):
        made, logits = oracle_mtp(CONFIG, WEIGHTS, states, ids)
        guesses.append(int(logits[-1].argmax()))
        states, ids = torch.cat((states, made[-1:])), [*ids, guesses[-1]]
    # The block that holds position 44 ends with 47: one guess and three more
    assert ours == guesses
    assert len(ours) >= 2


def test_behind_a_shared_prefix(folder: Path, tmp_path: Path) -> None:
    """The shared part's entries are those of the request that computed it, in its only pass."""
    engine = engine_of(folder, tmp_path)
    finished(engine, PROMPT, 1)
    recorder = Recorder(engine)
    seq = finished(engine, [*PROMPT, 5, 6, 7], 4)
    assert seq.num_cached_tokens == 44
    assert min(recorder.logits) == 44
    ours = torch.stack([recorder.logits[position] for position in range(44, len(seq) - 2)])
    torch.testing.assert_close(ours, expected(seq.token_ids)[44 : len(seq) - 2], atol=1e-4, rtol=0)


def test_native_kernels(tmp_path: Path) -> None:
    """Whole blocks and groups, so that the module's layer is native too; eight bits show some noise."""
    native = pytest.importorskip("local_backend.kernels.native_library").load_native()
    if native is None:
        pytest.skip("the native kernels are not built")
    sizes = {"kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 48}
    experts = {"n_routed_experts": 8, "num_experts_per_tok": 8, "n_group": 1, "topk_group": 1}
    wide = {"moe_intermediate_size": 64, "intermediate_size": 160, "q_lora_rank": 64, "hidden_size": 96}
    config = endless("deepseek_v3", **sizes, **experts, **wide)
    folder = write_toy_folder(tmp_path / "toy", config, mtp=True)
    recorded = []
    for kernels in ("native", "reference"):
        model = build_model(folder, tmp_path / kernels, kernels=kernels, quantization="int8")
        engine = toy_engine(model, num_blocks=64, block_size=16, speculation="mtp", max_num_seqs=4)
        recorder = Recorder(engine)
        finished(engine, PROMPT, 2)
        recorded.append(torch.stack([recorder.logits[position] for position in range(len(PROMPT) - 1)]))
        if kernels == "native":
            module = engine._runner.model.mtp
            assert module is not None
            assert module.layer.native_attention
            assert module.layer.native_feed_forward
    ours, theirs = recorded
    assert ((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max() < 0.4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_toy_folder(tmp_path / "toy", CONFIG, mtp=True)
