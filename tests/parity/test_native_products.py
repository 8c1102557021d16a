"""Native products, SwiGLU blocks and mixtures of experts against plain float arithmetic."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from local_backend.architecture import MoEConfig
from local_backend.kernels.base import QuantizedTensor
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_library import load_native
from local_backend.layers.linear import Linear, StackedLinear
from local_backend.models.gate import Gate
from local_backend.models.mlp import MLP
from local_backend.models.moe import DeepSeekMoE
from local_backend.models.native_blocks import native_feed_forward
from local_backend.store.quantize import quantize_rows

LIBRARY = load_native()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the native kernels are not built")
ISAS = LIBRARY.isas if LIBRARY else ("none",)
FORMS = list(product(("int4", "int8"), (False, True)))
SHAPES = [(64, 64), (50, 96), (1, 32), (200, 416)]
ROUNDING = 0.02  # of activations to int8, relative to the result
TWICE = 0.03  # of a block, which rounds before each of its two products


@pytest.fixture(params=ISAS)
def kernels(request: pytest.FixtureRequest) -> NativeKernels:
    assert LIBRARY is not None
    return NativeKernels(LIBRARY, 2, request.param)


def quantized(rows: int, columns: int, scheme: str, minimum: bool) -> QuantizedTensor:
    generator = torch.Generator().manual_seed(rows * columns)
    made = quantize_rows(torch.randn(rows, columns, generator=generator) * 0.02, scheme)
    offsets = torch.randn(made.scale.shape, generator=generator) * 0.01 if minimum else None
    return QuantizedTensor(made.q, made.scale, offsets)


def relative_error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(("scheme", "minimum"), FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_packing_loses_only_the_last_bits_of_scales(
    kernels: NativeKernels, shape: tuple[int, int], scheme: str, minimum: bool
) -> None:
    weight = quantized(*shape, scheme, minimum)
    expanded = kernels.dequantize(kernels.pack(weight))
    assert relative_error(expanded, weight.dequantize()) < 1e-3


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_scales_that_float16_cannot_hold(kernels: NativeKernels, scale: float) -> None:
    weight = quantized(32, 64, "int4", minimum=False)
    weight = QuantizedTensor(weight.q, weight.scale * scale)
    assert relative_error(kernels.dequantize(kernels.pack(weight)), weight.dequantize()) < 1e-3


@pytest.mark.parametrize(("scheme", "minimum"), FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_product_and_its_independence_of_the_batch(
    kernels: NativeKernels, shape: tuple[int, int], scheme: str, minimum: bool
) -> None:
    weight = quantized(*shape, scheme, minimum)
    packed = kernels.pack(weight)
    x = torch.randn(40, shape[1], generator=torch.Generator().manual_seed(1))
    wanted, together = x @ weight.dequantize().t(), kernels.linear(x, packed)
    assert relative_error(together, wanted) < ROUNDING
    for count in (1, 2, 3, 4, 5, 13, 29):
        assert torch.equal(kernels.linear(x[:count], packed), together[:count])


@pytest.mark.parametrize(("scheme", "minimum"), FORMS)
@pytest.mark.parametrize("num_tokens", [96, 101, 300])
@pytest.mark.parametrize("shape", [(16, 128), (80, 384), (144, 1024)])
def test_many_rows(
    kernels: NativeKernels, shape: tuple[int, int], num_tokens: int, scheme: str, minimum: bool
) -> None:
    """Whole blocks and whole runs of 128 columns: where weights are rounded anew."""
    weight = quantized(*shape, scheme, minimum)
    x = torch.randn(num_tokens, shape[1], generator=torch.Generator().manual_seed(1))
    got, wanted = kernels.linear(x, kernels.pack(weight)), x @ weight.dequantize().t()
    assert relative_error(got, wanted) < ROUNDING
    assert relative_error(got[-1], wanted[-1]) < 2 * ROUNDING


def test_many_rows_of_zeros_and_of_outliers(kernels: NativeKernels) -> None:
    """Units are of 128 columns: what is large elsewhere in a row does no harm."""
    weight = quantized(64, 256, "int4", minimum=False)
    weight.q[3] = 8
    weight.scale[:, 4:] *= 1e-3
    x = torch.randn(120, 256, generator=torch.Generator().manual_seed(1))
    x[:, :128], x[7] = 0.0, 0.0
    got, wanted = kernels.linear(x, kernels.pack(weight)), x @ weight.dequantize().t()
    assert not got[:, 3].any()
    assert not got[7].any()
    assert relative_error(got, wanted) < ROUNDING


def mlp(kernels: NativeKernels, hidden: int, width: int, seed: int) -> tuple[MLP, list[Tensor]]:
    torch.manual_seed(seed)
    shapes = (width, hidden), (width, hidden), (hidden, width)
    weights = [quantize_rows(torch.randn(shape) * 0.1, "int4") for shape in shapes]
    gate, up, down = (Linear(kernels.pack(weight), None, kernels) for weight in weights)
    block = MLP(StackedLinear((gate, up), ((width,), (width,))), down, kernels)
    return block, [weight.dequantize() for weight in weights]


def swiglu(x: Tensor, weights: list[Tensor]) -> Tensor:
    gate, up, down = weights
    return (torch.nn.functional.silu(x @ gate.t()) * (x @ up.t())) @ down.t()


def normed(x: Tensor, norm: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * norm


class NoCounts:
    expert_counts = None


@pytest.mark.parametrize("num_tokens", [1, 3, 200])
@pytest.mark.parametrize(("size", "width"), [(96, 160), (128, 384)])
def test_a_swiglu_block(kernels: NativeKernels, size: int, width: int, num_tokens: int) -> None:
    block, weights = mlp(kernels, size, width, seed=1)
    hidden, norm = torch.randn(num_tokens, size), torch.rand(size) + 0.5
    run = native_feed_forward(block, norm, 1e-6, kernels)
    assert run is not None
    out = hidden.clone()
    run(out, NoCounts())
    assert relative_error(out - hidden, swiglu(normed(hidden, norm), weights)) < TWICE


RULES = {
    "deepseek-v2-lite": {"topk_method": "greedy", "scoring_func": "softmax"},
    "deepseek-v2": {"topk_method": "group_limited_greedy", "scoring_func": "softmax"},
    "deepseek-v3": {"topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True},
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("num_tokens", [1, 40, 110])
@pytest.mark.parametrize(("size", "width"), [(96, 64), (128, 128)])
def test_a_mixture_is_the_sum_that_the_gate_asks_for(
    kernels: NativeKernels, rules: dict[str, object], size: int, width: int, num_tokens: int
) -> None:
    options = {"norm_topk_prob": False, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5}
    moe = MoEConfig(
        n_routed_experts=16,
        n_shared_experts=1,
        num_experts_per_tok=3,
        moe_intermediate_size=width,
        first_k_dense_replace=0,
        **{**options, **rules},
    )
    parts = [mlp(kernels, size, width, seed) for seed in range(17)]
    bias = torch.randn(16) * 0.1 if rules["topk_method"] == "noaux_tc" else None
    gate = Gate(moe, torch.randn(16, size), bias, scale_normalised=True)
    layer = DeepSeekMoE(gate, tuple(block for block, _ in parts[:16]), parts[16][0], 0)
    hidden, norm = torch.randn(num_tokens, size), torch.rand(size) + 0.5
    x = normed(hidden, norm)
    wanted = swiglu(x, parts[16][1])
    for token, (ids, weights) in enumerate(zip(*gate(x), strict=True)):
        for expert, weight in zip(ids.tolist(), weights, strict=True):
            wanted[token] += weight * swiglu(x[token], parts[expert][1])
    run = native_feed_forward(layer, norm, 1e-6, kernels)
    assert run is not None
    out = hidden.clone()
    run(out, NoCounts())
    assert relative_error(out - hidden, wanted) < TWICE
