"""The packed store: made once, whole or not at all, repacked when damaged."""

from __future__ import annotations

import logging
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from toy_model import toy_config, write_folder

from local_backend.errors import CheckpointError
from local_backend.kernels.reference import ReferenceKernels
from local_backend.store import packing
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.packed import WEIGHTS_FILE, load_or_pack, pack_checkpoint, packed_name
from local_backend.store.packed_file import PackedModel

KERNELS = ReferenceKernels()
CHILD = """
import resource, sys
from pathlib import Path
from local_backend.kernels.reference import ReferenceKernels
from local_backend.store.packed import load_or_pack
if sys.argv[2] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
def progress(done, total):
    print(done, flush=True)
    if done == 3:
        sys.stdin.readline()
try:
    load_or_pack(Path(sys.argv[1]), "digest", ReferenceKernels(), "none", progress)
except Exception as error:
    print(type(error).__name__, error, error.help_message)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "source", toy_config("llama"))


@pytest.fixture
def packed(cache: Path) -> Path:
    """Where the packed copy belongs."""
    return cache / "packed" / packed_name("digest", "none", "rows") / WEIGHTS_FILE


@pytest.fixture
def child(source: Path, cache: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that packs and, after three stacks, waits for a line."""
    started: list[subprocess.Popen[str]] = []

    def start(file_limit: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(source), str(file_limit)]
        started.append(subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def load(source: Path, progress: Callable[[int, int], None] | None = None) -> PackedModel:
    return load_or_pack(source, "digest", KERNELS, "none", progress)


def leftovers(packed: Path) -> list[str]:
    return [path.name for path in packed.parent.iterdir() if path != packed]


def test_packs_once_and_maps_from_then_on(source: Path, packed: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = load(source, lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 10) for i in range(10)]
    written = packed.stat()
    second = load(source, lambda done, total: pytest.fail("packed again"))
    assert (packed.stat().st_ino, packed.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert leftovers(packed) == []
    assert second.config == first.config == open_checkpoint(source).config
    assert all(torch.equal(second.vectors[name], vector) for name, vector in first.vectors.items())
    assert list(first.weights)[1] == "+".join(f"model.layers.0.self_attn.{part}_proj" for part in "qkv")


def test_chunk_size_does_not_change_a_byte(
    source: Path, packed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load(source)
    monkeypatch.setattr(packing, "CHUNK_WEIGHTS", 1)  # chunks of 64 rows, across the parts of a stack
    pack_checkpoint(open_checkpoint(source), KERNELS, "none", tmp_path / "small")
    assert (tmp_path / "small" / WEIGHTS_FILE).read_bytes() == packed.read_bytes()


def test_kill_minus_9_leaves_no_final_file_and_is_cleaned_up(
    source: Path, packed: Path, child: Callable[..., subprocess.Popen[str]]
) -> None:
    process = child()
    assert [process.stdout.readline().strip() for _ in range(3)] == ["1", "2", "3"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not packed.exists()
    assert leftovers(packed) == [f".{WEIGHTS_FILE}.{process.pid}"]
    load(source)
    assert packed.exists()
    assert leftovers(packed) == []


def test_two_processes_pack_once(packed: Path, child: Callable[..., subprocess.Popen[str]]) -> None:
    first = child()
    assert first.stdout.readline() == "1\n"
    second = child()
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for the first
        second.wait(timeout=4)
    assert first.communicate("\n", timeout=30)[0].split() == [str(i) for i in range(2, 11)]
    assert second.communicate("\n", timeout=30)[0] == ""
    assert leftovers(packed) == []


def test_full_disk_leaves_nothing(packed: Path, child: Callable[..., subprocess.Popen[str]]) -> None:
    out, _ = child(file_limit=200_000).communicate("\n", timeout=60)
    assert "CheckpointError the packed weights could not be written" in out
    assert "Free disk space" in out
    assert not packed.parent.exists()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def garble_manifest(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"vocab_size", b"vocab_syze", 1))


def lose_a_part(path: Path) -> None:
    path.write_bytes(
        path.read_bytes().replace(b'"model.embed_tokens:dense"', b'"model.embed_tokens:dance"', 1)
    )


def drop_manifest(path: Path) -> None:
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


@pytest.mark.parametrize(
    "damage", [truncate, garble_manifest, lose_a_part, drop_manifest, lambda path: path.write_bytes(b"")]
)
def test_damaged_copies_are_packed_again(
    damage: Callable[[Path], None], source: Path, packed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(source)
    sound = packed.read_bytes()
    damage(packed)
    with caplog.at_level(logging.WARNING, logger="local_backend"):
        load(source)
    assert "packing the weights again" in caplog.text
    assert packed.read_bytes() == sound


def test_interrupt_leaves_nothing(source: Path, packed: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(source, interrupt)
    assert not packed.parent.exists()


def test_unwritable_cache_is_named(source: Path, cache: Path) -> None:
    cache.write_text("a file where the directory should be")
    with pytest.raises(CheckpointError, match="could not be written") as caught:
        load(source)
    assert "DEEPSEEK_APPS_CACHE_DIR" in caught.value.help_message


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_unquantised_sources_are_rounded_as_asked(quantization: str, source: Path, tmp_path: Path) -> None:
    packed = load_or_pack(source, "digest", KERNELS, quantization)
    assert {weight.scheme for weight in packed.weights.values()} == {quantization}


def test_columns_that_are_no_whole_groups_stay_dense(tmp_path: Path) -> None:
    config = toy_config("llama", hidden_size=40, head_dim=10, intermediate_size=64)
    packed = load_or_pack(write_folder(tmp_path / "odd", config), "odd", KERNELS, "auto")
    assert packed.weights["model.embed_tokens"].scheme == "dense"
    assert packed.weights["model.layers.0.mlp.down_proj"].scheme == "int8"
