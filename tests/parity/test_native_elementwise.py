"""Native norms, turns and SiLU products against torch, for each usable instruction set and odd sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import silu

from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_library import load_native
from local_backend.layers.rope import apply_rotary

LIBRARY = load_native()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the native kernels are not built")
ISAS = LIBRARY.isas if LIBRARY else ("none",)


@pytest.fixture(params=ISAS)
def kernels(request: pytest.FixtureRequest) -> NativeKernels:
    assert LIBRARY is not None
    return NativeKernels(LIBRARY, 2, request.param)


@pytest.mark.parametrize("rows", [1, 3, 300])
@pytest.mark.parametrize("size", [1, 15, 16, 33, 1536])
def test_norms(kernels: NativeKernels, size: int, rows: int) -> None:
    x, weight = torch.randn(rows, size) * 3, torch.randn(size)
    out = torch.empty_like(x)
    for eps in (1e-6, 0.1):
        kernels.functions.deepseek_rms_norm(
            kernels.handle, x.data_ptr(), rows, size, weight.data_ptr(), eps, out.data_ptr()
        )
        wanted = x.double() * (x.double().square().mean(-1, keepdim=True) + eps).rsqrt() * weight
        torch.testing.assert_close(out.double(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 5, 70])
@pytest.mark.parametrize(("num_heads", "head_dim", "pairs"), [(1, 2, 1), (3, 24, 5), (16, 64, 32)])
def test_turns_leave_the_rest_of_a_head_alone(
    kernels: NativeKernels, tokens: int, num_heads: int, head_dim: int, pairs: int
) -> None:
    spare = 3  # numbers between tokens
    x = torch.randn(tokens, num_heads * head_dim + spare)
    angles = torch.rand(tokens, 1, pairs) * 6
    turns = torch.polar(torch.ones_like(angles), angles)
    wanted = x.clone()
    heads = wanted[:, : num_heads * head_dim].view(tokens, num_heads, head_dim).clone()
    heads[..., : 2 * pairs] = apply_rotary(heads[..., : 2 * pairs], turns)
    wanted[:, : num_heads * head_dim] = heads.flatten(1)
    kernels.functions.deepseek_rotate(
        kernels.handle, x.data_ptr(), tokens, x.stride(0), num_heads, head_dim, turns.data_ptr(), pairs
    )
    torch.testing.assert_close(x, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 16, 47, 8960])
def test_silu_products(kernels: NativeKernels, count: int) -> None:
    gate, up = torch.randn(count) * 4, torch.randn(count)
    gate[0], out = -200.0, torch.empty(count)
    kernels.functions.deepseek_silu_multiply(
        kernels.handle, gate.data_ptr(), up.data_ptr(), count, out.data_ptr()
    )
    torch.testing.assert_close(out, silu(gate) * up, atol=1e-5, rtol=2e-5)


def test_numbers_too_small_for_a_float_are_zero_inside_and_not_outside(kernels: NativeKernels) -> None:
    """Computing with them takes a hundred times as long; the caller's own arithmetic is left as it was."""
    gate, up, out = torch.full((64,), 20.0), torch.full((64,), 1e-40), torch.empty(64)
    kernels.functions.deepseek_silu_multiply(
        kernels.handle, gate.data_ptr(), up.data_ptr(), 64, out.data_ptr()
    )
    assert not out.any()
    assert np.float32(1e-40) * np.float32(20.0) > 0
