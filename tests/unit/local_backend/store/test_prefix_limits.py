"""What goes when prefixes take too much disk: least recently used, and ends before beginnings."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from local_backend.store.lock import file_lock
from local_backend.store.paths import prefixes_dir
from local_backend.store.prefix_limits import (
    StoredSegment,
    clear_prefixes,
    default_limit,
    keep_order,
    prefix_usage,
    trim,
)

ROOT = "0"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPSEEK_APPS_CACHE_DIR", str(tmp_path))
    return tmp_path / "prefixes"


def store(cache: Path, key: str, parent: str = ROOT, *, used: float, model: str = "model") -> Path:
    (cache / model).mkdir(parents=True, exist_ok=True)
    path = cache / model / f"{key}-{parent}"
    path.write_bytes(bytes(100))
    os.utime(path, (used, used))
    return path


def names(cache: Path) -> list[str]:
    return sorted(path.name[0] for path in cache.glob("*/[!.]*"))


def test_the_least_recently_used_go_first(cache: Path) -> None:
    for used, key in enumerate("abcde", start=1):
        store(cache, key, used=used)
    assert trim(320) == 300
    assert names(cache) == ["c", "d", "e"]


def test_nothing_goes_below_the_limit(cache: Path) -> None:
    store(cache, "a", used=1)
    store(cache, "b", used=2, model="other")
    assert trim(200) == 200


def test_a_beginning_stays_as_long_as_its_continuations(cache: Path) -> None:
    store(cache, "a", used=1)
    store(cache, "b", "a", used=2)
    store(cache, "c", used=3)
    store(cache, "d", "b", used=4)
    trim(320)
    assert names(cache) == ["a", "b", "d"]
    trim(220)
    assert names(cache) == ["a", "b"]


def test_every_order_of_a_random_tree_is_sound() -> None:
    rng = random.Random(5)
    stored = []
    for key in range(1, 60):
        path = Path("model") / f"{key}-{rng.randrange(key)}"
        stored.append(StoredSegment(path, 1, rng.random()))
    rng.shuffle(stored)
    ordered = [segment.path.name.split("-") for segment in keep_order(stored)]
    assert len(ordered) == len(stored)
    for index, (_, parent) in enumerate(ordered):
        assert parent == ROOT or parent in {key for key, _ in ordered[:index]}


def test_names_that_go_in_circles_are_survived() -> None:
    stored = [StoredSegment(Path("model") / name, 1, 0.0) for name in ("a-b", "b-a", "c-c", "junk")]
    assert len(keep_order(stored)) == 4


def test_what_dead_writers_left_is_removed(cache: Path) -> None:
    old, new = (store(cache, "a", used=1).with_name(f".{name}.tmp") for name in ("old", "new"))
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (1, 1))
    trim(1000)
    assert (old.exists(), new.exists()) == (False, True)


def test_one_process_trims_at_a_time(cache: Path) -> None:
    store(cache, "a", used=1)
    with file_lock(cache / ".lock"):
        assert trim(0) == 100
    assert trim(0) == 0


def test_usage_and_clearing(cache: Path) -> None:
    store(cache, "a", used=1)
    store(cache, "b", used=2, model="other")
    usage = prefix_usage()
    assert (usage.directory, usage.size, usage.segments, usage.models) == (prefixes_dir(), 200, 2, 2)
    assert clear_prefixes("oth") == 100
    assert names(cache) == ["a"]
    assert clear_prefixes() == 100
    assert prefix_usage().segments == 0


def test_the_default_limit_is_a_share_of_the_disk(cache: Path) -> None:
    assert 0 < default_limit() <= 4 << 30
    assert not cache.exists()
