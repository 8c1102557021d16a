"""LocalEngine from files to tokens, with real parts at toy size: folder and GGUF, cold and warm."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_model import toy_config, toy_tensors, write_folder, write_gguf

from local_backend.config import EngineConfig
from local_backend.errors import (
    CheckpointError,
    ConfigError,
    EngineStoppedError,
    RequestTooLongError,
    UnknownModelError,
    UnsupportedModelError,
)
from local_backend.local_engine import LoadProgress, LocalEngine
from local_backend.sampling_params import SamplingDefaults, SamplingParams

CONFIG = toy_config("qwen2")
EXACT = EngineConfig(kernels="reference", quantization="none", max_kv_bytes=1 << 20, num_threads=1)
PROMPT = "<|im_start|>user\nhello 世界 🐢<|im_end|>\n<|im_start|>assistant\n"
Load = Callable[..., LocalEngine]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DEEPSEEK_APPS_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def load() -> Any:
    """LocalEngine.load whose engines are closed at the end."""
    engines: list[LocalEngine] = []

    def load(path: Path, config: EngineConfig = EXACT, progress: LoadProgress | None = None) -> LocalEngine:
        engines.append(LocalEngine.load(path, config, progress=progress))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "toy-folder", CONFIG)


def answer(engine: LocalEngine, max_tokens: int = 12) -> list[int]:
    ids = engine.tokenizer.encode_plain(PROMPT)
    generation = engine.submit(ids, SamplingParams(temperature=0, max_tokens=max_tokens))
    return [output.token_id for output in generation if output.token_id is not None]


def test_folder_and_gguf_answer_alike(load: Load, folder: Path, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "toy-file.gguf", CONFIG, toy_tensors(CONFIG))
    from_folder, from_gguf = load(folder), load(gguf)
    assert answer(from_folder) == answer(from_gguf)
    assert (from_folder.model_id, from_gguf.model_id) == ("toy-folder", "toy-file")
    assert from_folder.tokenizer.eos_token_ids[0] == from_gguf.tokenizer.eos_token_ids[0] == 260
    assert from_folder.max_model_len == 512


def test_warm_start_packs_nothing_and_answers_the_same(load: Load, folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    cold = load(folder, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (10, 10)
    warm = load(folder, progress=lambda done, total: pytest.fail("packed again"))
    assert answer(warm) == answer(cold)


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_fast_kernels_load_and_answer(quantization: str, load: Load, folder: Path) -> None:
    config = EngineConfig(quantization=quantization, max_kv_bytes=1 << 20, num_threads=1)
    assert len(answer(load(folder, config))) == 12


def test_auto_says_its_choice_before_the_weights_are_touched(folder: Path, cache: Path) -> None:
    said: list[str] = []

    def notice(line: str) -> None:
        said.append(line)
        assert not list(cache.glob("packed/*/weights.safetensors"))

    config = EngineConfig(max_kv_bytes=1 << 20, num_threads=1)
    LocalEngine.load(folder, config, notice=notice).close()
    assert said[0].startswith("toy-folder: int8 weights 0.1 MB + cache up to 1.0 MB")
    (packed,) = cache.glob("packed/*/weights.safetensors")
    assert "-int8-" in packed.parent.name


def test_an_explicit_choice_is_only_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "local_backend.local_engine"):
        LocalEngine.load(folder, EXACT, notice=pytest.fail).close()
    assert "toy-folder: unquantised weights" in caplog.text


def test_a_changed_checkpoint_is_packed_anew(load: Load, folder: Path) -> None:
    before = answer(load(folder))
    write_folder(folder, CONFIG, toy_tensors(CONFIG, seed=1))
    assert answer(load(folder)) != before


def test_a_damaged_packed_copy_is_replaced(
    load: Load, folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = answer(load(folder))
    (packed,) = cache.glob("packed/*/weights.safetensors")
    packed.write_bytes(packed.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        assert answer(load(folder)) == expected
    assert "packing the weights again" in caplog.text


def test_closed_engines_say_so(load: Load, folder: Path) -> None:
    engine = load(folder)
    engine.close()
    engine.close()
    with pytest.raises(EngineStoppedError):
        engine.submit([1], SamplingParams())


def test_context_follows_the_config(load: Load, folder: Path) -> None:
    engine = load(folder, EngineConfig(kernels="reference", quantization="none", max_model_len=32))
    assert engine.max_model_len == 32
    with pytest.raises(RequestTooLongError):
        engine.submit([1] * 32, SamplingParams())


def test_unknown_model() -> None:
    with pytest.raises(UnknownModelError, match="no-such-model"):
        LocalEngine.load("no-such-model", EXACT)


def test_folder_without_a_tokenizer_stops_its_engine(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        LocalEngine.load(folder, EXACT)


@pytest.mark.parametrize("content", ["{", "[1]", "7"])
def test_broken_generation_config_is_named(content: str, folder: Path) -> None:
    (folder / "generation_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        LocalEngine.load(folder, EXACT)


def test_publishers_sampling_is_kept(load: Load, folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"temperature": 0.6, "top_p": null, "x": 1}')
    assert load(folder).sampling_defaults == SamplingDefaults(temperature=0.6)


def test_model_without_a_chat_template(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UnsupportedModelError, match="no chat template"):
        LocalEngine.load(folder, EXACT)


def test_too_little_memory_for_the_context(folder: Path) -> None:
    with pytest.raises(ConfigError, match="max_kv_bytes"):
        LocalEngine.load(folder, EngineConfig(kernels="reference", max_kv_bytes=10_000, max_model_len=500))


def test_a_file_cut_short_is_found_before_it_is_hashed(folder: Path, cache: Path) -> None:
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 10)
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read: .*ends at byte"):
        LocalEngine.load(folder, EXACT)
    assert not cache.exists()
