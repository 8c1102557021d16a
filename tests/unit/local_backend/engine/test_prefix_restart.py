"""An engine answers from the prefixes that another one left on disk, as if it had computed them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from toy_model import build_model, drain, generate, toy_engine

from local_backend.cache.pool import KVPool
from local_backend.config import CacheDtype
from local_backend.engine.engine import Engine
from local_backend.models.decoder import Decoder
from local_backend.sampling_params import SamplingParams
from local_backend.store.disk_tier import DiskTier, open_disk_tier
from local_backend.store.prefix_files import SegmentFiles
from local_backend.store.prefix_writer import PrefixWriter
from local_backend.testing import write_toy_folder

PROMPT = [20 + position * 7 % 100 for position in range(61)]
SEGMENT_BLOCKS = 2  # of four positions each


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    scratch = tmp_path_factory.mktemp("latent")
    return build_model(write_toy_folder(scratch / "source", "deepseek_v2"), scratch / "packed")


def with_disk(engine: Engine, folder: Path) -> Engine:
    """Give an engine a tier of small segments under the folder."""
    blocks = engine.pool.block_bytes()
    files = SegmentFiles.open(folder / "prefixes" / "toy", SEGMENT_BLOCKS * blocks.block_bytes)
    writer = PrefixWriter(files, limit=1 << 30, queue_bytes=1 << 20)
    engine.keep_prefixes(DiskTier(blocks, files, writer, segment_blocks=SEGMENT_BLOCKS, min_prompt_tokens=0))
    return engine


def ask(engine: Engine, prompt: list[int], salt: str = "") -> tuple[list[int], int]:
    """Greedy tokens, and how many of the prompt's were found."""
    seq = engine.new_sequence(prompt, SamplingParams(temperature=0, max_tokens=6), cache_salt=salt)
    drain(engine, seq)
    return seq.token_ids[len(prompt) :], seq.num_cached_tokens or 0


@pytest.mark.parametrize("cache_dtype", ["auto", "bfloat16", "int8", "int6"])
def test_latents_survive_a_restart(latent: Decoder, tmp_path: Path, cache_dtype: CacheDtype) -> None:
    first = with_disk(toy_engine(latent, cache_dtype=cache_dtype), tmp_path)
    answer, found = ask(first, PROMPT)
    assert found == 0
    first.close()
    second = with_disk(toy_engine(latent, cache_dtype=cache_dtype), tmp_path)
    assert ask(second, PROMPT) == (answer, 56)


@pytest.mark.parametrize("cache_dtype", ["auto", "bfloat16"])
def test_keys_and_values_survive_a_restart(toy: Decoder, tmp_path: Path, cache_dtype: CacheDtype) -> None:
    first = with_disk(toy_engine(toy, cache_dtype=cache_dtype), tmp_path)
    answer, _ = ask(first, PROMPT)
    first.close()
    second = with_disk(toy_engine(toy, cache_dtype=cache_dtype), tmp_path)
    other = [*PROMPT[:40], 5, 6, 7]  # the document is the same, the question is not
    assert ask(second, other) == (generate(toy_engine(toy, cache_dtype=cache_dtype), other)[:6], 40)
    assert ask(second, PROMPT) == (answer, 56)


def test_what_memory_lost_comes_from_disk(toy: Decoder, tmp_path: Path) -> None:
    engine = with_disk(toy_engine(toy, num_blocks=20), tmp_path)
    answer, _ = ask(engine, PROMPT)
    ask(engine, [token + 1 for token in PROMPT])
    assert engine.blocks.refresh_prefix(engine.new_sequence(PROMPT, SamplingParams()), 14).num_blocks < 14
    assert ask(engine, PROMPT) == (answer, 56)


def test_users_are_kept_apart_on_disk(toy: Decoder, tmp_path: Path) -> None:
    first = with_disk(toy_engine(toy), tmp_path)
    ask(first, PROMPT, salt="alice")
    first.close()
    second = with_disk(toy_engine(toy), tmp_path)
    assert [ask(second, PROMPT, salt=salt)[1] for salt in ("bob", "", "alice")] == [0, 0, 56]


def test_no_file_says_what_was_asked(toy: Decoder, tmp_path: Path) -> None:
    engine = with_disk(toy_engine(toy), tmp_path)
    ask(engine, PROMPT)
    engine.close()
    text = b",".join(b"%d" % token for token in PROMPT[:8])
    paths = list((tmp_path / "prefixes" / "toy").iterdir())
    assert len(paths) == 7
    assert not [path for path in paths if text in path.read_bytes() or text in path.name.encode()]


def test_others_go_on_while_a_prefix_comes_back(toy: Decoder, tmp_path: Path) -> None:
    first = with_disk(toy_engine(toy), tmp_path)
    ask(first, PROMPT)
    first.close()
    second = with_disk(toy_engine(toy), tmp_path)
    assert second.scheduler.prefixes is not None
    second.scheduler.prefixes.tier.piece_segments = 1
    running = second.new_sequence([5, 6, 7], SamplingParams(temperature=0, max_tokens=30))
    second.add(running)
    second.step()
    late = second.new_sequence(PROMPT, SamplingParams(temperature=0, max_tokens=2))
    second.add(late)
    while not late.num_generated_tokens:
        second.step()
    assert late.num_cached_tokens == 56
    assert running.num_generated_tokens >= 8  # one for each of seven pieces


def test_the_key_tells_ways_of_keeping_apart(latent: Decoder, toy: Decoder) -> None:
    pools = [toy_engine(latent, cache_dtype=kept).pool for kept in ("float32", "bfloat16", "int8", "int6")]
    pools.append(toy_engine(toy).pool)
    assert len({pool.layout for pool in pools}) == 5
    assert isinstance(pools[-1], KVPool)


def test_the_tier_can_be_off_or_unusable(
    toy: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_CACHE_DIR", str(tmp_path))
    pool, before = toy_engine(toy).pool, threading.active_count()
    assert open_disk_tier(pool, "abc-int8-rows", 0) is None
    assert [*tmp_path.iterdir()] == []
    tier = open_disk_tier(pool, "abc-int8-rows", None)
    assert tier is not None
    tier.close()
    assert threading.active_count() == before
    assert [path.name.partition("-")[0] for path in (tmp_path / "prefixes").iterdir()] == ["abc"]
    (tmp_path / "prefixes").chmod(0o755)
    assert open_disk_tier(pool, "abc-int8-rows", None) is None
    assert "not this user's alone" in caplog.text
