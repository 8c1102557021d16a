"""Drafts by the prediction module: fewer passes, the same output, and nothing where there is no module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from toy_model import build_model, drain, generate, toy_config, toy_engine, toy_tensors

from local_backend.engine.engine import Engine
from local_backend.engine.speculator import MAX_SEQUENCES, PATIENCE, PROBE
from local_backend.errors import CheckpointError, ConfigError
from local_backend.models.decoder import Decoder
from local_backend.sampling_params import SamplingParams
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.footprint import count_parameters
from local_backend.store.tensor_checks import check_tensors
from local_backend.testing import toy_foreseeing_tensors, toy_mtp_tensors, write_toy_folder, write_toy_gguf

CONFIG = toy_config("deepseek_v3", eos_token_id=None)
MODULE = f"model.layers.{CONFIG['num_hidden_layers']}"
PROMPT = [7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
SAMPLED = {"temperature": 0.7, "seed": 5}


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    scratch = tmp_path_factory.mktemp("knowing")
    return build_model(
        write_toy_folder(scratch / "toy", CONFIG, tensors=toy_foreseeing_tensors(CONFIG)), scratch / "packed"
    )


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    scratch = tmp_path_factory.mktemp("random")
    return build_model(write_toy_folder(scratch / "toy", CONFIG, mtp=True), scratch / "packed")


def eager(model: Decoder, *, sixteen_rows: float = 1.01, **options: Any) -> Engine:
    """An engine that believes that one row takes a second, and sixteen this long."""
    engine = toy_engine(model, num_blocks=200, **options)
    costs = engine._speculator._costs
    costs.record(1, 1.0)
    costs.record(16, sixteen_rows)
    costs.record = lambda rows, seconds: None  # type: ignore[method-assign, assignment]
    return engine


def plain(model: Decoder, prompt: list[int] = PROMPT, **params: Any) -> list[int]:
    return generate(toy_engine(model, num_blocks=200, speculation="off"), prompt, **params)


@pytest.mark.parametrize("params", [{}, SAMPLED])
def test_a_module_that_knows_saves_passes(knowing: Decoder, params: dict[str, Any]) -> None:
    engine = eager(knowing, speculation="mtp")
    assert generate(engine, PROMPT, max_tokens=60, **params) == plain(knowing, max_tokens=60, **params)
    statistics = engine.speculation_statistics()
    if not params:
        assert statistics.num_accepted_tokens == statistics.num_drafted_tokens > 40
        assert statistics.num_passes < 20


def test_drafts_grow_to_several_tokens(knowing: Decoder) -> None:
    engine = eager(knowing, speculation="mtp")
    generate(engine, PROMPT, max_tokens=60)
    statistics = engine.speculation_statistics()
    assert statistics.num_drafted_tokens / statistics.num_passes > 2


@pytest.mark.parametrize("speculation", ["auto", "mtp"])
@pytest.mark.parametrize("params", [{}, SAMPLED])
def test_a_module_that_does_not_know_changes_nothing(
    random: Decoder, speculation: str, params: dict[str, Any]
) -> None:
    engine = eager(random, speculation=speculation)
    assert generate(engine, PROMPT, max_tokens=80, **params) == plain(random, max_tokens=80, **params)


def test_a_module_of_no_use_is_left_alone_for_most_tokens(random: Decoder) -> None:
    engine = eager(random, speculation="mtp", sixteen_rows=6.0)
    asked: list[int] = []
    run = engine._runner.run_mtp

    def counted(rows: Any, previous: Tensor) -> Any:
        asked.append(sum(row.samples for row in rows))
        return run(rows, previous)

    engine._runner.run_mtp = counted  # type: ignore[method-assign]
    generate(engine, PROMPT, max_tokens=150, **SAMPLED)
    assert len(asked) < 50  # passes of the module, for 149 of the model
    assert sum(asked) <= PATIENCE + 150 // PROBE + 10


def test_several_at_once_in_chunks_with_little_room(random: Decoder, knowing: Decoder) -> None:
    """Chunked prefill, preemption and sequences that end at different times."""
    for model in (random, knowing):
        engine = toy_engine(model, num_blocks=30, max_num_seqs=5, max_num_batched_tokens=9, speculation="mtp")
        prompts = [[*PROMPT, *range(20, 20 + 3 * i)] for i in range(5)]
        params = SamplingParams(temperature=0, max_tokens=20)
        sequences = [engine.new_sequence(prompt, params) for prompt in prompts]
        drain(engine, *sequences)
        assert engine.scheduler.num_preemptions
        for seq, prompt in zip(sequences, prompts, strict=True):
            assert seq.token_ids[len(prompt) :] == plain(model, prompt, max_tokens=20)
        assert engine._speculator._drafter is not None
        assert not engine._speculator._drafter._guesses
        assert not engine._speculator._drafter._behind


def test_many_sequences_are_followed_but_not_guessed(knowing: Decoder) -> None:
    engine = eager(knowing, speculation="mtp")
    params = SamplingParams(temperature=0, max_tokens=6)
    drain(engine, *(engine.new_sequence([3, 4, i], params) for i in range(MAX_SEQUENCES + 1)))
    assert engine.speculation_statistics().num_drafted_tokens == 0


def test_prompt_lookup_goes_first_where_it_knows_more(knowing: Decoder) -> None:
    """Both are always right here; lookup guesses further."""
    prompt = PROMPT[:1]
    for _ in range(60):
        prompt = [*prompt, *plain(knowing, prompt, max_tokens=1)]
    both, alone = eager(knowing), eager(knowing, speculation="mtp")
    repeating = prompt if len(set(prompt)) < 40 else prompt * 2
    assert generate(both, repeating, max_tokens=60) == generate(alone, repeating, max_tokens=60)
    assert both.speculation_statistics().num_passes <= alone.speculation_statistics().num_passes


@pytest.mark.parametrize("speculation", ["off", "prompt-lookup"])
def test_a_module_that_is_not_wanted_takes_no_cache(random: Decoder, speculation: str) -> None:
    with_module, without = toy_engine(random), toy_engine(random, speculation=speculation)
    assert without._runner.model.mtp is None
    assert without.pool.num_blocks > with_module.pool.num_blocks


def test_asking_for_a_module_that_is_not_there(tmp_path: Path) -> None:
    """The config says that there is one, as it does in conversions that left it out."""
    model = build_model(write_toy_folder(tmp_path / "toy", CONFIG), tmp_path / "packed")
    assert CONFIG["num_nextn_predict_layers"] == 1
    assert model.mtp is None
    assert toy_engine(model).pool.num_blocks == 64
    with pytest.raises(ConfigError, match='speculation="mtp", but the checkpoint has no'):
        toy_engine(model, speculation="mtp")


def test_a_module_with_a_piece_missing_is_named(tmp_path: Path) -> None:
    tensors = toy_tensors(CONFIG) | toy_mtp_tensors(CONFIG)
    del tensors[f"{MODULE}.hnorm.weight"]
    checkpoint = open_checkpoint(write_toy_folder(tmp_path / "toy", CONFIG, tensors=tensors))
    with pytest.raises(CheckpointError, match=r"model\.layers\.3\.hnorm\.weight"):
        check_tensors(checkpoint)


def test_parameters_are_those_of_the_model_alone(tmp_path: Path) -> None:
    with_module = open_checkpoint(write_toy_folder(tmp_path / "a", CONFIG, mtp=True)).config
    without = open_checkpoint(write_toy_gguf(tmp_path / "b.gguf", CONFIG)).config
    assert with_module.num_nextn_predict_layers == 1
    assert without.num_nextn_predict_layers == 0
    assert count_parameters(with_module) == count_parameters(without)
