"""What a checkpoint lacks, has too much of, or has damaged: said by name, in messages of bounded length."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as GGMLType
from torch import Tensor

from local_backend.errors import CheckpointError
from local_backend.kernels.reference import ReferenceKernels
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.packed import WEIGHTS_FILE, pack_checkpoint
from local_backend.store.packed_file import read_packed_file
from local_backend.store.tensor_checks import check_tensors, report_unused
from local_backend.testing import toy_config, toy_mtp_tensors, toy_tensors, write_toy_folder, write_toy_gguf

KERNELS = ReferenceKernels()
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return toy_tensors(toy_config("deepseek_v3"))


def folder_of(
    tmp_path: Path, tensors: dict[str, Tensor], family: str = "deepseek_v3", **changes: object
) -> Path:
    return write_toy_folder(tmp_path / "toy", family, tensors=tensors, **changes)


def pack(path: Path, scratch: Path, quantization: str = "int8") -> Path:
    pack_checkpoint(open_checkpoint(path), KERNELS, quantization, scratch / "packed")
    return scratch / "packed" / WEIGHTS_FILE


def test_missing_experts_are_one_entry(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    kept = {name: tensor for name, tensor in tensors.items() if ".1.mlp.experts.1" not in name}
    with pytest.raises(CheckpointError, match="lacks 21 tensors") as caught:
        check_tensors(open_checkpoint(folder_of(tmp_path, kept)))
    assert "model.layers.1.mlp.experts.*.down_proj.weight (7 experts)" in str(caught.value)
    assert "toy lacks" in str(caught.value)


def test_the_message_stays_short(tmp_path: Path) -> None:
    config = toy_config("deepseek_v3", num_hidden_layers=61, n_routed_experts=256, n_group=8)
    folder = write_toy_folder(tmp_path / "toy", config, tensors={"model.norm.weight": torch.ones(96)})
    with pytest.raises(CheckpointError, match=r"and \d+ more") as caught:
        check_tensors(open_checkpoint(folder))
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize("name", ["mlp.gate.e_score_correction_bias", "self_attn.kv_b_proj.weight"])
def test_tensors_of_the_architecture_are_required(
    name: str, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    del tensors[f"model.layers.1.{name}"]
    with pytest.raises(CheckpointError, match=rf"lacks 1 tensors: model\.layers\.1\.{name}"):
        check_tensors(open_checkpoint(folder_of(tmp_path, tensors)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qk_rope_head_dim": 8}, r"kv_a_proj_with_mqa.weight is \[48, 96\] instead of \[40, 96\]"),
        ({"moe_intermediate_size": 32}, r"experts.0.gate_proj.weight is \[64, 96\] instead of \[32, 96\]"),
        ({"n_shared_experts": 2}, r"shared_experts.up_proj.weight is \[64, 96\] instead of \[128, 96\]"),
        ({"v_head_dim": 32}, r"kv_b_proj.weight is \[224, 32\] instead of \[256, 32\] \(model.safetensors\)"),
    ],
)
def test_keys_that_contradict_the_weights(
    changes: dict[str, int], message: str, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        check_tensors(open_checkpoint(folder_of(tmp_path, tensors, **changes)))


def test_copies_in_a_prediction_module_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_toy_folder(tmp_path / "toy", "deepseek_v3", mtp=True, fp8=True)
    (module,) = report_unused(open_checkpoint(folder))
    assert module.expected
    assert module.reason == (
        "model.layers.3: multi-token prediction module's copies of the embedding and the output matrix"
    )
    assert module.names == (
        "model.layers.3.embed_tokens.weight",
        "model.layers.3.shared_head.head.weight",
    )
    with caplog.at_level(logging.INFO, logger="local_backend"):
        pack(folder, tmp_path)
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert "output matrix, not used: model.layers.3.embed_tokens.weight" in caplog.text


def test_a_second_prediction_module_is_reported(tmp_path: Path) -> None:
    config = toy_config("deepseek_v3", num_hidden_layers=2)
    tensors = toy_tensors(config) | toy_mtp_tensors(config)
    tensors |= toy_mtp_tensors({**config, "num_hidden_layers": 3})
    checkpoint = open_checkpoint(folder_of(tmp_path, tensors, num_hidden_layers=2))
    assert "model.layers.3: multi-token prediction module" in {u.reason for u in report_unused(checkpoint)}


def test_tensors_of_another_architecture_are_a_warning(
    tensors: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors |= {f"model.layers.{n}.self_attn.indexer.wk.weight": torch.ones(2) for n in range(3)}
    tensors |= {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": torch.ones(2) for n in range(3)}
    with caplog.at_level(logging.INFO, logger="local_backend"):
        pack(folder_of(tmp_path, tensors), tmp_path)
    assert sorted(record.levelno for record in caplog.records) == [logging.INFO, logging.WARNING]
    assert "does not have, not used: model.layers.0.self_attn.indexer.wk.weight" in caplog.text


def test_scales_without_their_weight_are_not_hidden(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    tensors["model.layers.0.other.weight_scale_inv"] = torch.ones(1, 1)
    (unused,) = report_unused(open_checkpoint(folder_of(tmp_path, tensors)))
    assert unused.names == ("model.layers.0.other.weight_scale_inv",)


@pytest.mark.parametrize("quantization", ["none", "int8", "int4"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(
    "name",
    [
        "model.layers.2.mlp.experts.3.down_proj.weight",
        "model.layers.1.mlp.gate.weight",
        "model.layers.0.self_attn.q_b_proj.weight",
    ],
)
def test_numbers_that_are_none_are_found_while_packing(
    name: str, value: float, quantization: str, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    tensors[name][11, 5] = value
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: tensor '{name}' .*in row 11;"):
        pack(folder_of(tmp_path, tensors), tmp_path, quantization)
    assert not (tmp_path / "packed").exists()


def test_a_norm_that_is_not_finite_is_found_first(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    tensors["model.norm.weight"][7] = NAN
    tensors["model.embed_tokens.weight"][0, 0] = NAN
    with pytest.raises(CheckpointError, match=r"'model\.norm\.weight'"):
        pack(folder_of(tmp_path, tensors), tmp_path)


@pytest.mark.parametrize("part", ["", "_scale_inv"])
def test_fp8_codes_and_scales_that_are_not_finite(part: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_toy_folder(tmp_path / "toy", "deepseek_v3", fp8=True)
    stored, name = load_file(folder / "model.safetensors"), "model.layers.1.self_attn.o_proj.weight"
    changed = stored[f"{name}{part}"].float()
    changed[2, 0] = NAN
    stored[f"{name}{part}"] = changed.to(stored[f"{name}{part}"].dtype)
    save_file(stored, folder / "model.safetensors")
    row = 64 if part else 2
    with pytest.raises(CheckpointError, match=rf"'{name}' has NaN or infinity in row {row};"):
        pack(folder, tmp_path)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "BF16"])
@pytest.mark.parametrize("split_kv_b", [True, False])
def test_gguf_blocks_whose_scale_is_not_finite(kind: str, split_kv_b: bool, tmp_path: Path) -> None:
    path = write_toy_gguf(tmp_path / "toy.gguf", "deepseek_v3", kind=kind, split_kv_b=split_kv_b)
    name = f"blk.1.attn_{'v_b' if split_kv_b else 'kv_b'}.weight"
    tensor = open_checkpoint(path)._header.tensors[name]
    block, size = GGML_QUANT_SIZES[GGMLType[kind]]
    content = bytearray(path.read_bytes())
    row_bytes = tensor.shape[-1] // block * size
    content[tensor.start + 3 * row_bytes : tensor.start + 3 * row_bytes + 2] = b"\xff\x7f"  # a NaN of 16 bits
    path.write_bytes(content)
    row = 32 + 3 if split_kv_b else 3
    with pytest.raises(CheckpointError, match=rf"toy\.gguf: tensor .*kv_b_proj\.weight' .*in row {row};"):
        pack(path, tmp_path)
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_what_is_rounded_and_what_is_not(quantization: str, tmp_path: Path) -> None:
    folder = write_toy_folder(tmp_path / "toy", "deepseek_v3", kv_lora_rank=40)
    packed = read_packed_file(pack(folder, tmp_path, quantization))
    dense = {name for name, weight in packed.weights.items() if weight.scheme == "dense"}
    assert dense == {f"model.layers.{n}.self_attn.kv_b_proj" for n in range(3)}  # 40 columns
    assert {weight.scheme for copies in packed.experts.values() for weight in copies} == {quantization}
    assert {vector.dtype for vector in packed.vectors.values()} == {torch.float32}
    assert packed.vectors["model.layers.1.mlp.gate.weight"].shape == (16, 96)


def test_experts_of_fp8_are_rounded_from_their_true_values(tmp_path: Path) -> None:
    folder = write_toy_folder(tmp_path / "toy", "deepseek_v3", fp8=True)
    packed = read_packed_file(pack(folder, tmp_path, "none"))
    name = "model.layers.2.mlp.experts.*.down_proj"
    wanted = open_checkpoint(folder).matrix(f"{name.replace('*', '9')}.weight")
    assert torch.equal(packed.experts[name][9].tensors["dense"].float(), wanted)
    assert json.loads((folder / "config.json").read_text())["quantization_config"]["quant_method"] == "fp8"
