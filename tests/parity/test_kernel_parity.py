"""Every kernel set against the reference, and the reference against plain arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from local_backend.kernels.base import CHUNK_ROWS, Kernels, QuantizedTensor
from local_backend.kernels.dispatch import select_kernels
from local_backend.kernels.int4pack import MAX_INT4PACK_ROWS, Int4PackKernels, pack_nibbles
from local_backend.kernels.int8_gemm import split_activations
from local_backend.kernels.reference import ReferenceKernels

REFERENCE = ReferenceKernels()
SHAPES = [(64, 32), (192, 64), (96, 160), (130, 96), (1, 32), (640, 2048)]
TOKENS = [1, 2, *MAX_INT4PACK_ROWS.values(), *(limit + 1 for limit in MAX_INT4PACK_ROWS.values()), 70]


def native_block_rows() -> int:
    chosen = select_kernels()
    return chosen.block_rows if isinstance(chosen, Int4PackKernels) else 64


def fast_sets() -> list[Kernels]:
    """The set this machine gets, with every arithmetic for many rows that it may get elsewhere."""
    if not isinstance(select_kernels(), Int4PackKernels):
        return [REFERENCE]
    return [Int4PackKernels(native_block_rows(), gemm, REFERENCE) for gemm in ("float32", "bfloat16", "int8")]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def random_weight(rows: int, columns: int, scheme: str, *, minimum: bool, seed: int = 0) -> QuantizedTensor:
    generator = torch.Generator().manual_seed(seed)
    low, high, dtype = (0, 16, torch.uint8) if scheme == "int4" else (-128, 128, torch.int8)
    q = torch.randint(low, high, (rows, columns), generator=generator).to(dtype)
    scale = (torch.rand(rows, columns // 32, generator=generator) + 0.5) / high
    offset = torch.randn(rows, columns // 32, generator=generator) * scale * high / 8
    if scheme == "int4":
        offset = offset - 8 * scale
    return QuantizedTensor(q, scale, offset if minimum else None)


def relative_error(got: Tensor, wanted: Tensor) -> float:
    return float((got.float() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("minimum", [False, True])
@pytest.mark.parametrize("scheme", ["int4", "int8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linear_is_near_the_exact_product(shape: tuple[int, int], scheme: str, minimum: bool) -> None:
    weight = random_weight(*shape, scheme, minimum=minimum)
    exact = weight.dequantize()
    for tokens in TOKENS:
        x = torch.randn(tokens, shape[1], generator=torch.Generator().manual_seed(tokens))
        wanted = x @ exact.t()
        assert relative_error(REFERENCE.linear(x, REFERENCE.pack(weight)), wanted) < 1e-6
        for kernels in fast_sets():
            got = kernels.linear(x.to(kernels.dtype), kernels.pack(weight))
            assert got.shape == wanted.shape
            assert relative_error(got, wanted) < 0.012, (kernels, tokens)


@pytest.mark.parametrize("scheme", ["int4", "int8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_embedding_reads_the_same_rows(shape: tuple[int, int], scheme: str) -> None:
    weight = random_weight(*shape, scheme, minimum=True)
    ids = torch.arange(shape[0]).flip(0)
    wanted = weight.dequantize()[ids]
    assert torch.equal(REFERENCE.embedding(ids, REFERENCE.pack(weight)), wanted)
    for kernels in fast_sets():
        got = kernels.embedding(ids, kernels.pack(weight))
        assert got.dtype == torch.float32
        assert relative_error(got, wanted) < 0.005


@pytest.mark.parametrize("columns", [7, 33, 64])
def test_dense_weights_of_any_shape(columns: int) -> None:
    weight = torch.randn(37, columns, generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, columns, generator=torch.Generator().manual_seed(1))
    for kernels in (REFERENCE, *fast_sets()):
        packed = kernels.pack(weight)
        assert relative_error(kernels.linear(x.to(kernels.dtype), packed), x @ weight.t()) < 0.01
        assert relative_error(kernels.embedding(torch.tensor([36, 0]), packed), weight[[36, 0]]) < 0.01


@pytest.mark.parametrize("scheme", ["int4", "int8"])
@pytest.mark.parametrize("rows", [CHUNK_ROWS * 3, CHUNK_ROWS * 2 + 10])
def test_packing_in_chunks_gives_the_same_bytes(rows: int, scheme: str) -> None:
    weight = random_weight(rows, 64, scheme, minimum=True)
    for kernels in (REFERENCE, *fast_sets()):
        whole = kernels.pack(weight)
        chunks = [
            kernels.pack(QuantizedTensor(weight.q[part], weight.scale[part], weight.offset[part]), rows)
            for part in (slice(0, CHUNK_ROWS), slice(CHUNK_ROWS, rows))
        ]
        joined = kernels.concat(chunks)
        assert (joined.rows, joined.columns, joined.scheme) == (rows, 64, scheme)
        assert joined.tensors.keys() == whole.tensors.keys()
        assert all(torch.equal(joined.tensors[part], whole.tensors[part]) for part in whole.tensors)


@pytest.mark.parametrize("block_rows", [32, 64])
def test_both_block_heights_pack_and_unpack(block_rows: int) -> None:
    """The layout of the other instruction set, read back without its operator."""
    kernels = Int4PackKernels(block_rows, "float32", REFERENCE)
    x = torch.randn(max(MAX_INT4PACK_ROWS.values()) + 1, 64, generator=torch.Generator().manual_seed(1))
    for scheme in ("int4", "int8"):
        weight = random_weight(192, 64, scheme, minimum=True)
        assert relative_error(kernels.linear(x, kernels.pack(weight)), x @ weight.dequantize().t()) < 0.005
        ids = torch.arange(192)
        assert relative_error(kernels.embedding(ids, kernels.pack(weight)), weight.dequantize()) < 0.005


def test_our_nibble_order_is_torchs() -> None:
    block_rows = native_block_rows()
    q = torch.randint(0, 16, (2 * block_rows, 64), generator=torch.Generator().manual_seed(0))
    theirs = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.to(torch.int32), 1)
    assert torch.equal(theirs.flatten(), pack_nibbles(q.to(torch.uint8), block_rows).flatten())


def test_activations_split_into_two_bytes_come_back() -> None:
    x = torch.randn(9, 64, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 3, 9)[:, None]
    x[4] = 0
    codes, scale = split_activations(x)
    high, low = codes.chunk(2)
    back = (high.float() * 256 + low.float()) * scale
    # Half a step, and one more where a low term of 128 was clamped.
    assert bool(((back - x).abs() <= x.abs().amax(1, keepdim=True) / 32512 * 1.501).all())


def naive_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Softmax attention, one row and head at a time."""
    tokens, heads, _ = query.shape
    context, kv_heads, head_dim = key.shape
    out = torch.empty(tokens, heads, head_dim)
    for row in range(tokens):
        visible = context - tokens + row + 1
        for head in range(heads):
            shared = head // (heads // kv_heads)
            scores = [float(query[row, head] @ key[i, shared]) * scale for i in range(visible)]
            largest = max(scores)
            weights = torch.tensor([math.exp(score - largest) for score in scores])
            out[row, head] = weights @ value[:visible, shared] / weights.sum()
    return out.view(tokens, heads * head_dim)


@pytest.mark.parametrize("tokens", [1, 2, 5, 9])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (3, 1)], ids=str)
def test_attention_is_a_softmax_loop(heads: tuple[int, int], tokens: int) -> None:
    generator = torch.Generator().manual_seed(tokens)
    num_heads, kv_heads = heads
    query = torch.randn(tokens, num_heads, 16, generator=generator)
    key, value = (torch.randn(9, kv_heads, 16, generator=generator) for _ in range(2))
    wanted = naive_attention(query, key, value, 0.25)
    torch.testing.assert_close(REFERENCE.attention(query, key, value, 0.25), wanted, atol=1e-5, rtol=0)
    for kernels in fast_sets():
        got = kernels.attention(query, key.to(kernels.dtype), value.to(kernels.dtype), 0.25)
        assert relative_error(got, wanted) < 0.02


def test_elementwise_operations() -> None:
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)) * 4
    weight = torch.rand(64, generator=torch.Generator().manual_seed(1))
    norm = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight
    product = x / (1 + (-x).exp()) * x.flip(1)
    for kernels in (REFERENCE, *fast_sets()):
        assert relative_error(kernels.rms_norm(x, weight, 1e-6), norm) < 0.01
        assert relative_error(kernels.silu_and_mul(x.clone(), x.flip(1)), product) < 0.01


def test_reference_can_be_forced() -> None:
    assert isinstance(select_kernels("reference"), ReferenceKernels)
