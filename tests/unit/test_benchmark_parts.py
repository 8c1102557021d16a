"""What the benchmarks are made of: made-up caches, tables of comparisons, the reader of bandwidth."""

from __future__ import annotations

import importlib
import json
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from toy_model import build_model, toy_config, toy_engine, write_folder

from local_backend.sampling_params import SamplingParams

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def state_of(cells: int, *, transposed: bool, layers: int = 2) -> bytes:
    """A state as llama.cpp writes it: keys of 3 bytes, values of two 2-byte numbers."""
    parts = [struct.pack("<IiII", 7, 0, 1, cells)]
    parts += [struct.pack("<iIi", position, 1, 0) for position in range(cells)]
    parts.append(struct.pack("<II", transposed, layers))
    for layer in range(layers):
        parts.append(struct.pack("<iQ", 1, 3))
        parts += [bytes([layer, position, 0]) for position in range(cells)]
    for layer in range(layers):
        parts.append(struct.pack("<iII", 1, 2, 2) if transposed else struct.pack("<iQ", 1, 4))
        values = np.array([[layer, position, 2, 3] for position in range(cells)], np.uint8)
        turned = values.reshape(cells, 2, 2).transpose(1, 0, 2)
        parts.append((turned if transposed else values).tobytes())
    return b"".join(parts)


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("depth", [3, 7])
def test_a_deepened_state_repeats_the_rows(*, transposed: bool, depth: int) -> None:
    states = load("llama_cpp_state")
    deep = states.deepen_state(state_of(3, transposed=transposed), depth)
    assert len(deep) == len(state_of(depth, transposed=transposed))
    assert (bytes(deep) == state_of(3, transposed=transposed)) == (depth == 3)
    # Cut back to its first three positions it is what it was made of.
    assert states.deepen_state(bytes(deep), 3) == state_of(3, transposed=transposed)


@pytest.mark.parametrize("damage", [slice(None, -1), slice(None, 30)])
def test_a_state_of_another_layout_is_refused(damage: slice) -> None:
    states = load("llama_cpp_state")
    with pytest.raises(states.UnknownStateError, match="ends after"):
        states.deepen_state(state_of(3, transposed=False)[damage], 5)


def test_a_rate_is_better_when_larger_and_a_time_when_smaller() -> None:
    row = load("comparison").Row
    rate = row(work="w", ours=[2.0, 9.0], peer=[1.0, 9.0], bar=1.5, ceiling=[4.0, 10.0])
    assert (rate.ratio, rate.verdict, rate.share) == (1.5, ">= 1.5x ok", pytest.approx(0.7))
    assert row(work="w", ours=[2.0], bar=1.5).verdict == ""  # nothing to hold it against
    assert row(work="w", ours=[2.0], unit="s", bar=1.5).verdict == "<= 1.5 s MISSED"
    assert load("comparison").spread([1.0, 2.0, 30.0], "s") == "2 s (1 - 30)"


def test_a_comparison_prints_commands_and_only_used_columns(capsys: pytest.CaptureFixture[str]) -> None:
    part = load("comparison")
    sides = [part.Side(name="ours", command=["run", "a b"], about={"bits per weight": "4.5"})]
    rows = [part.Row(work="decode", ours=[2.0])]
    part.print_comparison("t", sides, rows, threads=1, warm_up="none", as_json=False)
    printed = capsys.readouterr().out
    assert "ours: run 'a b'\n    bits per weight: 4.5" in printed
    assert "| decode | 2 tok/s |" in printed
    assert "ratio" not in printed
    part.print_comparison("t", sides, rows, threads=1, warm_up="none", as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["sides"][0]["command"] == "run 'a b'"
    assert report["rows"][0]["ours"] == [2.0]


def test_bandwidth_names_the_pattern_that_was_best() -> None:
    found = load("bandwidth")._best("1 0 5.0 6.0\n4 9216 7.5 8.0\n")
    assert (found.bytes_per_second, found.how) == (8e9, "streams per thread: 4, prefetching 9216 bytes ahead")


def test_bandwidth_is_measured_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = load("bandwidth").measure_bandwidth(1, 1)
    assert found.bytes_per_second > 0
    assert "no C compiler" in found.how


@pytest.mark.parametrize("kind", ["qwen2", "deepseek_v2"])
def test_a_made_up_prefix_is_found_and_is_no_zeros(kind: str, tmp_path: Path) -> None:
    model = build_model(write_folder(tmp_path / "toy", toy_config(kind)), tmp_path / "packed")
    engine = toy_engine(model, max_model_len=128)
    ids = [(7 * i) % model.config.vocab_size for i in range(48)]
    load("filled_cache").fill_cache(engine, model.config, ids[:32], "salt")
    seq = engine.new_sequence(ids, SamplingParams(max_tokens=1), cache_salt="salt")
    engine.add(seq)
    engine.step()
    assert seq.num_cached_tokens == 32
    engine.blocks.check_integrity()
    rows = engine.pool.rows[0] if kind == "deepseek_v2" else engine.pool.keys[0]
    assert torch.unique(rows[:32]).numel() > 100
