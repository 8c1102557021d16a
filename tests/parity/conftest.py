"""Oracles: what other implementations make of the same files."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference_tokenizer(starter_small_gguf: Path):
    """transformers' tokenizer of the small starter model's own file."""
    from transformers import AutoTokenizer

    folder = starter_small_gguf.parent
    return AutoTokenizer.from_pretrained(folder, gguf_file=starter_small_gguf.name, local_files_only=True)
