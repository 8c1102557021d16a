"""Every GGUF storage type we read, against the gguf package's own dequantiser, on random blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as GGMLType
from gguf.quants import dequantize
from torch import Tensor

from local_backend.errors import UnsupportedModelError
from local_backend.kernels.base import GROUP_SIZE, QuantizedTensor
from local_backend.store.quantize import quantize_rows, read_gguf_matrix

ROWS, COLUMNS = 5, 512
HALVES = {  # offsets of the float16 scales in a block; random bytes there could be infinite
    GGMLType.Q4_0: (0,),
    GGMLType.Q4_1: (0, 2),
    GGMLType.Q5_0: (0,),
    GGMLType.Q5_1: (0, 2),
    GGMLType.Q8_0: (0,),
    GGMLType.Q4_K: (0, 2),
    GGMLType.Q5_K: (0, 2),
    GGMLType.Q2_K: (80, 82),
    GGMLType.Q3_K: (108,),
    GGMLType.Q6_K: (208,),
    GGMLType.IQ4_NL: (0,),
    GGMLType.IQ4_XS: (0,),
}
KEPT = {
    GGMLType.Q4_0: torch.uint8,
    GGMLType.Q4_1: torch.uint8,
    GGMLType.Q4_K: torch.uint8,
    GGMLType.Q5_0: torch.int8,
    GGMLType.Q5_1: torch.int8,
    GGMLType.Q5_K: torch.int8,
    GGMLType.Q8_0: torch.int8,
}
ROUNDED = [kind for kind in HALVES if kind not in KEPT]


def random_blocks(kind: GGMLType, seed: int) -> np.ndarray:
    """(ROWS, bytes per row) of random codes, scales between -0.25 and 0.25."""
    generator = np.random.default_rng(seed)
    block, size = GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (ROWS * COLUMNS // block, size), dtype=np.uint8)
    for offset in HALVES[kind]:
        halves = generator.uniform(-0.25, 0.25, (len(blocks), 1)).astype(np.float16)
        blocks[:, offset : offset + 2] = halves.view(np.uint8)
    return blocks.reshape(ROWS, -1)


def expected(data: np.ndarray, kind: GGMLType) -> Tensor:
    return torch.from_numpy(dequantize(data, kind).astype(np.float32))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KEPT, ids=lambda kind: kind.name)
def test_codes_are_kept(kind: GGMLType, seed: int) -> None:
    data = random_blocks(kind, seed)
    read = read_gguf_matrix(data, kind, ROWS, COLUMNS)
    assert isinstance(read, QuantizedTensor)
    assert read.q.dtype == KEPT[kind]
    wanted = expected(data, kind)
    # Nothing but float32's own rounding of scale * q + minimum.
    torch.testing.assert_close(read.dequantize(), wanted, rtol=0, atol=4e-7 * float(wanted.abs().max()))


@pytest.mark.parametrize("kind", ROUNDED, ids=lambda kind: kind.name)
def test_other_types_are_rounded_once_to_int8(kind: GGMLType) -> None:
    data = random_blocks(kind, 0)
    read = read_gguf_matrix(data, kind, ROWS, COLUMNS)
    assert isinstance(read, QuantizedTensor)
    wanted = expected(data, kind).view(ROWS, -1, GROUP_SIZE)
    error = (read.dequantize().view_as(wanted) - wanted).abs().amax(-1)
    assert bool((error <= wanted.abs().amax(-1) / 254 * 1.001).all())


def test_q6_k_is_rounded_by_less_than_its_own_step() -> None:
    data = random_blocks(GGMLType.Q6_K, 1)
    read = read_gguf_matrix(data, GGMLType.Q6_K, ROWS, COLUMNS)
    wanted = expected(data, GGMLType.Q6_K).view(ROWS, -1, GROUP_SIZE)
    error = (read.dequantize().view_as(wanted) - wanted).abs().amax(-1)
    coarser_step = wanted.abs().amax(-1) / 32  # of the 16 numbers that hold the group's largest
    assert float((error / coarser_step).max()) < 1 / 7


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(GGMLType.F32, np.float32), (GGMLType.F16, np.float16)],
    ids=["F32", "F16"],
)
def test_floats_are_read_as_they_are(kind: GGMLType, dtype: type) -> None:
    values = np.random.default_rng(0).normal(size=(3, 7)).astype(dtype)
    read = read_gguf_matrix(values.view(np.uint8), kind, 3, 7)
    assert torch.equal(read, torch.from_numpy(values))


def test_unreadable_type_is_named() -> None:
    block, size = GGML_QUANT_SIZES[GGMLType.Q8_K]
    with pytest.raises(UnsupportedModelError, match="Q8_K") as caught:
        read_gguf_matrix(np.zeros((1, size), np.uint8), GGMLType.Q8_K, 1, block)
    assert "Q4_K_M" in caught.value.help_message


@pytest.mark.parametrize(("scheme", "levels"), [("int8", 254), ("int4", 30)])
def test_rounding_floats_stays_within_half_a_step(scheme: str, levels: int) -> None:
    matrix = torch.randn(6, 96, generator=torch.Generator().manual_seed(0))
    matrix[2] = 0
    matrix[3, :32] = 0.5
    grouped = matrix.view(6, 3, 32)
    error = (quantize_rows(matrix, scheme).dequantize().view_as(grouped) - grouped).abs().amax(-1)
    span = 2 * grouped.abs().amax(-1) if scheme == "int8" else grouped.amax(-1) - grouped.amin(-1)
    half_step = span / 2 / (levels / 2)
    assert bool((error <= half_step + 1e-6).all())
    assert float(error[2].max()) == 0
