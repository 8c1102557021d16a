"""The V2-Lite benchmark at a toy size: its files load, its processes answer, its figures are drawn."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from local_backend.architecture import MLAConfig, ModelConfig, MoEConfig
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.tensor_checks import check_tensors

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def toy_shape() -> ModelConfig:
    sizes = {"vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "head_dim": 64}
    return replace(
        load("v2_lite_shape").model_config(3),
        **sizes,
        num_attention_heads=2,
        num_key_value_heads=2,
        mla=MLAConfig(kv_lora_rank=32, qk_nope_head_dim=32, qk_rope_head_dim=32, v_head_dim=32),
        moe=MoEConfig(
            n_routed_experts=8,
            num_experts_per_tok=3,
            moe_intermediate_size=32,
            n_shared_experts=2,
            first_k_dense_replace=1,
        ),
    )


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    load("v2_lite_files").write_gguf(tmp_path / "toy.gguf", toy_shape())
    return tmp_path / "toy.gguf"


def test_the_true_shape_has_the_published_number_of_parameters() -> None:
    shape = load("v2_lite_shape")
    assert sum(tensor.size for tensor in shape.gguf_tensors(shape.model_config())) == 15_706_484_224


@pytest.mark.parametrize("kind", ["gguf", "folder"])
def test_a_written_checkpoint_is_complete_and_says_its_shape(tmp_path: Path, kind: str) -> None:
    shape, path = toy_shape(), tmp_path / "toy.gguf"
    getattr(load("v2_lite_files"), f"write_{kind}")(path, shape)
    checkpoint = open_checkpoint(path)
    check_tensors(checkpoint)
    config = checkpoint.config
    assert config.rms_norm_eps == pytest.approx(shape.rms_norm_eps)  # GGUF keeps it in float32
    assert replace(config, rms_norm_eps=shape.rms_norm_eps, eos_token_ids=()) == shape


def test_random_blocks_lean_to_no_side(toy_file: Path) -> None:
    matrix = open_checkpoint(toy_file).matrix("model.layers.1.mlp.experts.0.gate_proj.weight")
    weights = matrix if isinstance(matrix, torch.Tensor) else matrix.dequantize()
    assert weights.std() == pytest.approx(64**-0.5, rel=0.1)
    assert abs(weights.mean()) < 0.1 * weights.std()


def test_a_seed_is_a_checkpoint(tmp_path: Path) -> None:
    write = load("v2_lite_files").write_gguf
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(tmp_path / name, toy_shape(), seed)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again != other


def test_the_engine_answers_with_rates_memory_and_experts(
    toy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_CACHE_DIR", str(tmp_path / "cache"))
    rounds = load("rounds")
    with rounds.Measured(rounds.engine_command(toy_file, 1, 64)) as engine:
        reply = engine.ask(16, 4)
        deep = engine.ask(4, 4, 32)
    assert 0 < engine.ready["per_token"] < engine.ready["packed"] < engine.ready["resident"]
    assert reply["prefill"] > 0 < reply["decode"]
    assert engine.ready["start"] > engine.ready["seconds"]
    assert sum(deep["experts"]["1"]) - sum(reply["experts"]["1"]) == 3 * (4 + 4)  # 32 were made up
    assert {layer: sum(counts) for layer, counts in reply["experts"].items()} == dict.fromkeys(
        "12", 3 * (9 + 20)
    )


def toy_run(ours: list[float], peer: list[float]) -> Any:
    rounds, report = load("rounds"), load("v2_lite_report")
    ready = {"packed": 1, "per_token": 100, "per_position": 10, "seconds": 1, "start": 2, "resident": 2e9}
    ready["anonymous"] = 1e9
    engine = SimpleNamespace(ready=ready)
    taken = rounds.Rounds({"ours": engine, "llama.cpp": engine}, 1)
    taken.bandwidth = [3000.0] * len(ours)
    taken.replies = {
        name: [
            {"prefill 512": 10 * rate, "decode 16": rate, "disk_faults": 0, "resident": 3e9, "experts": {}}
            for rate in rates
        ]
        for name, rates in (("ours", ours), ("llama.cpp", peer))
    }
    return report.Run(
        file_bytes=1,
        packing=ready,
        loads={"ours": [ready], "llama.cpp": [ready]},
        rounds=taken,
        sides=[],
        peer="llama.cpp",
    )


def test_the_report_compares_round_by_round() -> None:
    report = load("v2_lite_report")
    prefill, decode = report.speed_rows(toy_run([2, 9], [1, 9]), [512], [16])
    assert (decode.ratio, decode.ceiling) == (1.5, [3000 / 260] * 2)
    assert (prefill.ceiling, prefill.verdict) == ((), ">= 3x MISSED")
    assert decode.share == pytest.approx(5.5 / (3000 / 260))
    assert report.speeds(toy_run([2, 9], [1, 9]), [512], [16])[1]["ratio"] == 1.5


def test_loading_is_held_against_its_bars() -> None:
    rows = {row.work: row for row in load("v2_lite_report").load_rows(toy_run([2], [1]))}
    assert rows["packed copy to first token"].verdict == "<= 3 s ok"
    assert rows["loaded: peak memory"].verdict == "<= 9.5 GB ok"


def test_expert_use_is_one_number(tmp_path: Path) -> None:
    (row,) = load("v2_lite_report").balance_rows({"1": [3, 1], "2": [2, 2]})
    assert (row.ours, row.note) == ([1.25], "mean over 2 layers, worst 1.50")


def test_figures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    figures = load("figures")
    speeds = [
        {"phase": phase, "tokens": 512, "ours": 2.0, "llama.cpp": 1.0, "ceiling": 3.0}
        for phase in ("prefill", "decode")
    ]
    assert [path.name for path in figures.draw(tmp_path, {})] == ["cache-per-token.png"]
    paths = figures.draw(tmp_path, {"speeds": speeds, "experts": {"1": [3, 1], "2": [2, 2]}})
    assert [path.read_bytes()[:4] for path in paths] == [b"\x89PNG"] * 3
