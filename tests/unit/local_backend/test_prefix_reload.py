"""Two engines, one after the other as two processes would be, over one cache directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from local_backend.config import EngineConfig, KernelChoice
from local_backend.local_engine import LocalEngine
from local_backend.sampling_params import SamplingParams
from local_backend.store.paths import prefixes_dir
from local_backend.testing import write_toy_folder

CONFIG = EngineConfig(quantization="none", max_kv_bytes=4 << 20, num_threads=1, prefix_cache_bytes=64 << 20)
DOCUMENT = [30 + position * 7 % 200 for position in range(600)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_CACHE_DIR", str(tmp_path / "cache"))


def write_model(folder: Path, family: str = "qwen2") -> Path:
    return write_toy_folder(folder, family, max_position_embeddings=1024)


def ask(model: Path, prompt: list[int], config: EngineConfig = CONFIG) -> tuple[list[int | None], int]:
    """Load, answer, close; returns the greedy tokens and how many of the prompt's were found."""
    engine = LocalEngine.load(model, config)
    try:
        outputs = list(engine.submit(prompt, SamplingParams(temperature=0, max_tokens=4)))
    finally:
        engine.close()
    return [output.token_id for output in outputs], outputs[-1].num_cached_tokens


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("family", ["qwen2", "deepseek_v3"])
def test_a_second_question_finds_the_document(tmp_path: Path, family: str, kernels: KernelChoice) -> None:
    model, config = write_model(tmp_path / "toy", family), replace(CONFIG, kernels=kernels)
    answer, found = ask(model, [*DOCUMENT, 40], config)
    assert found == 0
    assert ask(model, [*DOCUMENT, 40], config) == (answer, 512)
    assert ask(model, [*DOCUMENT, 41, 42], config)[1] == 512


def test_nothing_is_kept_where_that_is_off(tmp_path: Path) -> None:
    config = replace(CONFIG, prefix_cache_bytes=0)
    ask(write_model(tmp_path / "toy"), DOCUMENT, config)
    assert not prefixes_dir().exists()


def test_a_short_prompt_is_not_kept(tmp_path: Path) -> None:
    ask(write_model(tmp_path / "toy"), DOCUMENT[:500])
    assert [*prefixes_dir().glob("*/*-*")] == []


def test_another_model_or_way_of_keeping_finds_nothing(tmp_path: Path) -> None:
    model = write_model(tmp_path / "toy")
    ask(model, DOCUMENT)
    other = write_toy_folder(tmp_path / "other", "qwen2", seed=1, max_position_embeddings=1024)
    assert ask(other, DOCUMENT)[1] == 0
    for change in ({"quantization": "int8"}, {"cache_dtype": "bfloat16"}, {"block_size": 32}):
        assert ask(model, DOCUMENT, replace(CONFIG, kernels="reference", **change))[1] == 0


@pytest.mark.parametrize("spoil", [lambda whole: b"", lambda whole: whole[:-1]])
def test_what_a_power_cut_tore_is_computed_anew(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    model = write_model(tmp_path / "toy")
    answer, _ = ask(model, DOCUMENT)
    for path in prefixes_dir().glob("*/*-*"):
        path.write_bytes(spoil(path.read_bytes()))
    assert ask(model, DOCUMENT) == (answer, 0)
    assert ask(model, DOCUMENT) == (answer, 512)
