"""The bytes that are promised before packing are the bytes that packing writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType as GGMLType
from toy_model import toy_config, toy_tensors, write_folder, write_gguf

from local_backend.kernels.dispatch import select_kernels
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.packed import WEIGHTS_FILE, pack_checkpoint
from local_backend.store.packed_size import FixedQuantization, PackedSize, packed_size, stored_forms
from local_backend.store.published import find_published
from local_backend.store.tensor_shapes import expected_shapes
from local_backend.testing import write_toy_folder, write_toy_gguf

FAST = select_kernels()
WIDE = {"hidden_size": 128, "intermediate_size": 320}  # whole blocks of 64 rows


def promised_and_written(
    path: Path, scratch: Path, kernels: str, quantization: FixedQuantization
) -> tuple[PackedSize, int]:
    chosen, checkpoint = select_kernels(kernels), open_checkpoint(path)
    size = packed_size(
        checkpoint.config,
        chosen,
        quantization,
        stored=stored_forms(checkpoint),
        names=checkpoint.names(),
    )
    pack_checkpoint(checkpoint, chosen, quantization, scratch / "packed")
    return size, (scratch / "packed" / WEIGHTS_FILE).stat().st_size


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("quantization", ["none", "int8", "int4"])
@pytest.mark.parametrize(
    "config",
    [
        toy_config("qwen2"),
        toy_config("llama", **WIDE),
        toy_config("llama", intermediate_size=90, tie_word_embeddings=True),
    ],
    ids=["biases", "whole-blocks", "ragged-and-tied"],
)
def test_a_folder(config: dict[str, Any], quantization: Any, kernels: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", config)
    size, written = promised_and_written(folder, tmp_path, kernels, quantization)
    assert size.file_bytes == written


@pytest.mark.parametrize("kind", [GGMLType.Q4_0, GGMLType.Q8_0, GGMLType.F16])
def test_a_gguf_keeps_its_own_precision(kind: GGMLType, tmp_path: Path) -> None:
    config = toy_config("llama", **WIDE)
    file = write_gguf(tmp_path / "toy.gguf", config, toy_tensors(config), kind)
    size, written = promised_and_written(file, tmp_path, "auto", "int8")
    assert size.file_bytes == written
    assert size.bits_per_weight < (6 if kind == GGMLType.Q4_0 else 11)


def test_schemes_of_a_mixed_gguf(tmp_path: Path) -> None:
    config = toy_config("qwen2", **WIDE)
    file = write_gguf(tmp_path / "toy.gguf", config, toy_tensors(config), GGMLType.Q4_0)
    schemes = stored_forms(open_checkpoint(file))
    assert set(schemes.values()) == {("int4", False)}
    assert "model.layers.1.mlp.down_proj" in schemes
    assert stored_forms(open_checkpoint(write_folder(tmp_path / "toy", config))) == {}


@pytest.mark.parametrize("quantization", ["none", "int8", "int4"])
@pytest.mark.parametrize("family", ["deepseek_v2", "deepseek_v2_lite", "deepseek_v3"])
def test_latent_attention_and_experts(family: str, quantization: Any, tmp_path: Path) -> None:
    folder = write_toy_folder(tmp_path / "toy", family, mtp=family == "deepseek_v3")
    size, written = promised_and_written(folder, tmp_path, "auto", quantization)
    assert size.file_bytes == written


@pytest.mark.parametrize("kind", ["F16", "Q4_0", "Q8_0"])
def test_experts_of_a_gguf(kind: str, tmp_path: Path) -> None:
    file = write_toy_gguf(tmp_path / "toy.gguf", "deepseek_v2", kind=kind)
    size, written = promised_and_written(file, tmp_path, "auto", "int8")
    assert size.file_bytes == written


@pytest.mark.parametrize("name", ["deepseek-v2-lite", "deepseek-v3"])
def test_real_bits_of_a_real_shape(name: str) -> None:
    config = find_published(name).config
    int4, int8 = (packed_size(config, FAST, scheme) for scheme in ("int4", "int8"))
    dense = packed_size(config, FAST, "none")
    assert 4.5 < int4.bits_per_weight < 6.1
    assert 8.5 < int8.bits_per_weight < 10.1
    assert dense.bits_per_weight in (16, 32)
    assert int4.weights == int8.weights == dense.weights


def test_gates_and_norms_are_vectors() -> None:
    config = find_published("deepseek-v3").config
    vectors = {
        name: shape
        for name, shape in expected_shapes(config).items()
        if not name.endswith(".bias") and ("norm" in name or ".mlp.gate." in name)
    }
    numbers = sum(torch.Size(shape).numel() for shape in vectors.values())
    assert packed_size(config, FAST, "int4").vector_bytes == 4 * numbers
