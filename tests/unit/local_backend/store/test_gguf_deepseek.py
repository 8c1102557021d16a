"""GGUF's deepseek2 tensors: stacked experts, split kv_b, gates, and what is not the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as GGMLType
from gguf import GGUFWriter
from gguf.quants import dequantize, quantize
from torch import Tensor

from local_backend.errors import UnsupportedModelError
from local_backend.kernels.base import QuantizedTensor
from local_backend.store.checkpoint import open_checkpoint
from local_backend.store.gguf_file import GGUFFile
from local_backend.store.quantize import is_readable_kind, quantize_rows
from local_backend.store.tensor_checks import check_tensors, report_unused
from local_backend.testing import toy_config, toy_mtp_tensors, toy_tensors, write_toy_gguf

HEADS, NOPE, VALUE, RANK = 3, 32, 16, 64
KV_B = "model.layers.0.self_attn.kv_b_proj.weight"
HEAD_DIMS = {"qk_nope_head_dim": 32, "v_head_dim": 32, "kv_lora_rank": 32}


def write_tensors(path: Path, tensors: dict[str, tuple[Tensor, GGMLType]]) -> GGUFFile:
    writer = GGUFWriter(path, "deepseek2")
    for name, (tensor, kind) in tensors.items():
        writer.add_tensor(name, quantize(tensor.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GGUFFile(path)


def split_kv_b(tmp_path: Path, key: GGMLType, value: GGMLType, rank: int = RANK) -> tuple[GGUFFile, Tensor]:
    """A file with k_b (ggml ne = [nope, rank, heads]) and v_b ([rank, value, heads]), and kv_b as it was."""
    kv_b = torch.randn(HEADS, NOPE + VALUE, rank, generator=torch.Generator().manual_seed(0))
    k_b, v_b = kv_b[:, :NOPE].transpose(1, 2).contiguous(), kv_b[:, NOPE:].contiguous()
    parts = {"blk.0.attn_k_b.weight": (k_b, key), "blk.0.attn_v_b.weight": (v_b, value)}
    return write_tensors(tmp_path / "x.gguf", parts), kv_b.view(-1, rank)


def test_split_kv_b_is_put_together_exactly(tmp_path: Path) -> None:
    file, kv_b = split_kv_b(tmp_path, GGMLType.F32, GGMLType.F32)
    assert file.names() == {KV_B}
    assert file.shape(KV_B) == tuple(kv_b.shape)
    assert torch.equal(file.matrix(KV_B), kv_b)
    for first, last in ((0, 1), (NOPE - 3, NOPE + 5), (NOPE + VALUE - 1, 3 * (NOPE + VALUE)), (100, 101)):
        assert torch.equal(file.matrix(KV_B, (first, last)), kv_b[first:last])


def test_quantised_halves_of_kv_b_are_rounded_once_to_int8(tmp_path: Path) -> None:
    file, kv_b = split_kv_b(tmp_path, GGMLType.Q4_0, GGMLType.F32)
    k_b = kv_b.view(HEADS, NOPE + VALUE, RANK)[:, :NOPE].transpose(1, 2).contiguous()
    stored = torch.from_numpy(dequantize(quantize(k_b.numpy(), GGMLType.Q4_0), GGMLType.Q4_0))
    wanted = kv_b.clone().view(HEADS, NOPE + VALUE, RANK)
    wanted[:, :NOPE] = stored.transpose(1, 2)
    read = file.matrix(KV_B, (10, 90))
    assert isinstance(read, QuantizedTensor)
    once = quantize_rows(wanted.view(-1, RANK)[10:90], "int8")
    assert torch.equal(read.q, once.q)
    assert torch.equal(read.scale, once.scale)


def test_ranks_that_are_no_whole_groups_stay_dense(tmp_path: Path) -> None:
    file, kv_b = split_kv_b(tmp_path, GGMLType.Q8_0, GGMLType.F32, rank=40)
    read = file.matrix(KV_B)
    assert isinstance(read, Tensor)
    torch.testing.assert_close(read, kv_b, atol=0.02, rtol=0)


def test_halves_that_do_not_belong_together_are_left_alone(tmp_path: Path) -> None:
    k_b, v_b = torch.zeros(2, RANK, NOPE), torch.zeros(3, VALUE, RANK)
    parts = {"blk.0.attn_k_b.weight": (k_b, GGMLType.F32), "blk.0.attn_v_b.weight": (v_b, GGMLType.F32)}
    assert write_tensors(tmp_path / "x.gguf", parts).names() == parts.keys()


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q8_0"])
def test_each_expert_is_a_slice_of_the_stack(kind: str, tmp_path: Path) -> None:
    tensors = toy_tensors(toy_config("deepseek_v3"))
    checkpoint = open_checkpoint(write_toy_gguf(tmp_path / "toy.gguf", "deepseek_v3", kind=kind))
    for expert in (0, 7, 15):
        name = f"model.layers.2.mlp.experts.{expert}.up_proj.weight"
        stored = quantize(tensors[name].numpy(), GGMLType[kind])
        wanted = torch.from_numpy(dequantize(stored, GGMLType[kind]).astype(np.float32))
        assert checkpoint.shape(name) == tuple(tensors[name].shape)
        for rows in (None, (5, 6), (0, 64)):
            read = checkpoint.matrix(name, rows)
            floats = read.dequantize() if isinstance(read, QuantizedTensor) else read.float()
            torch.testing.assert_close(floats, wanted[slice(*rows or (None,))], rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["deepseek_v2", "deepseek_v2_lite", "deepseek_v3"])
@pytest.mark.parametrize("split", [True, False])
def test_every_tensor_comes_back(family: str, split: bool, tmp_path: Path) -> None:
    tensors = toy_tensors(toy_config(family))
    checkpoint = open_checkpoint(write_toy_gguf(tmp_path / "toy.gguf", family, split_kv_b=split))
    check_tensors(checkpoint)
    assert checkpoint.names() == tensors.keys()
    assert report_unused(checkpoint) == []
    for name, tensor in tensors.items():
        read = checkpoint.matrix(name) if name.endswith("_proj.weight") else checkpoint.vector(name)
        assert torch.equal(read, tensor), name


def test_the_gate_keeps_its_shape(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_toy_gguf(tmp_path / "toy.gguf", "deepseek_v3", kind="Q8_0"))
    assert checkpoint.vector("model.layers.1.mlp.gate.weight").shape == (16, 96)
    assert checkpoint.vector("model.layers.1.mlp.gate.e_score_correction_bias").shape == (16,)


def test_a_prediction_module_reads_back(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_toy_gguf(tmp_path / "toy.gguf", "deepseek_v3", mtp=True))
    assert checkpoint.config.num_nextn_predict_layers == 1
    assert checkpoint.config.num_hidden_layers == toy_config("deepseek_v3")["num_hidden_layers"]
    check_tensors(checkpoint)
    for name, tensor in toy_mtp_tensors(toy_config("deepseek_v3")).items():
        if "embed_tokens" in name or "shared_head.head" in name:
            continue
        read = checkpoint.matrix(name) if name.endswith("_proj.weight") else checkpoint.vector(name)
        assert torch.equal(read, tensor), name
    (unused,) = report_unused(checkpoint)
    assert unused.names == ("blk.3.nextn.embed_tokens.weight", "blk.3.nextn.shared_head_head.weight")
    assert unused.expected


def test_types_that_are_not_read_are_named_from_the_header(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "x.gguf", "deepseek2")
    writer.add_tensor("token_embd.weight", np.zeros((1, 292), np.uint8), raw_dtype=GGMLType.Q8_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModelError, match=r"x\.gguf: tensor 'model\.embed_tokens\.weight' .*Q8_K"):
        GGUFFile(tmp_path / "x.gguf").check_types(["model.embed_tokens.weight"])


def test_readable_types() -> None:
    kinds = [GGMLType.Q4_K, GGMLType.Q6_K, GGMLType.IQ4_NL, GGMLType.BF16, GGMLType.Q8_K]
    assert [is_readable_kind(kind) for kind in kinds] == [True, True, True, True, False]


def test_parts_of_a_split_file_are_named(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "x-00001-of-00005.gguf", "deepseek2")
    writer.add_uint16("split.count", 5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModelError, match="one of 5 parts") as caught:
        GGUFFile(tmp_path / "x-00001-of-00005.gguf")
    assert "--merge" in caught.value.help_message
