"""Mapped weights ask for large pages."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from toy_model import build_model, toy_config, write_folder

from local_backend.store import huge_pages
from local_backend.store.huge_pages import advise_huge_pages
from local_backend.store.packed import WEIGHTS_FILE


def flags_of(name: str) -> set[str]:
    """Flags of this process's mappings of a file, all together."""
    flags: set[str] = set()
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            inside = line.endswith(name)
        elif inside and line.startswith("VmFlags:"):
            flags |= set(line.split()[1:])
    return flags


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no large pages here")
def test_the_packed_file_is_mapped_with_the_advice(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", toy_config("qwen2"))
    model = build_model(folder, tmp_path / "packed")
    assert "hg" in flags_of(f"packed/{WEIGHTS_FILE}")
    assert model.layers


def test_tensors_smaller_than_a_page_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    system, advised = Mock(), [torch.zeros(0), torch.zeros(3)]
    monkeypatch.setattr(huge_pages.ctypes, "CDLL", lambda _: system)
    advise_huge_pages(advised)
    system.madvise.assert_not_called()
    if sys.platform == "linux":
        advise_huge_pages([*advised, torch.zeros(mmap.PAGESIZE)])
        system.madvise.assert_called_once()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_memory_of_any_kind_keeps_its_contents() -> None:
    tensor = torch.arange(8 * mmap.PAGESIZE)
    advise_huge_pages([tensor])
    assert tensor.sum() == sum(range(8 * mmap.PAGESIZE))
