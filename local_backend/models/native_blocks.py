"""Layers that run in one native call each, from residual stream to residual stream.

They are made of the layers that wiring.py has put together, wherever the native kernels have a call for their
form: quantised matrices, no odd shapes. Other layers stay as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from torch import Tensor

from local_backend.architecture import MoEConfig
from local_backend.kernels.base import PackedWeight
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_layout import BLOCK_ROWS
from local_backend.kernels.native_structs import Matrix, Mixture, Mlp, Norm, Router, address
from local_backend.layers.forward_context import ForwardContext
from local_backend.layers.linear import Linear, StackedLinear
from local_backend.models.gate import Gate
from local_backend.models.mlp import MLP, FeedForward
from local_backend.models.moe import DeepSeekMoE

__all__ = ["Block", "is_native", "native_feed_forward", "split_rows"]

Block = Callable[[Tensor, ForwardContext], None]
"""Adds a layer's output to float32 hidden (num_tokens, hidden_size), in place."""


def native_feed_forward(layer: FeedForward, norm: Tensor, eps: float, kernels: NativeKernels) -> Block | None:
    """Return the layer with the norm before it as one call; None if there is no call for its form.

    Args:
        layer: The block behind the norm.
        norm: (hidden_size,) float32.
        eps: Of the norm.
        kernels: Hold the call.
    """
    if isinstance(layer, MLP) and _fits(layer):
        return _mlp_block(layer, norm, eps, kernels)
    if isinstance(layer, DeepSeekMoE) and all(map(_fits, _mlps(layer))):
        return _mixture_block(layer, norm, eps, kernels)
    return None


def is_native(weight: PackedWeight) -> bool:
    """Whether a matrix lies in the native layout."""
    return "blocks" in weight.tensors


def split_rows(stacked: StackedLinear) -> list[Matrix]:
    """Describe each projection of a stack that `_splits` on its own."""
    matrices = []
    for group, sizes in zip(stacked.groups, stacked.sizes, strict=True):
        first = 0
        for rows in sizes:
            matrices.append(Matrix.of(group.weight, first, rows))
            first += rows
    return matrices


def _mlp_block(layer: MLP, norm: Tensor, eps: float, kernels: NativeKernels) -> Block:
    mlp, before = _mlp(layer), Norm(address(norm), eps)
    call, handle = kernels.functions.deepseek_feed_forward, kernels.handle
    mlp_pointer, norm_pointer = ctypes.byref(mlp), ctypes.byref(before)

    def run(hidden: Tensor, ctx: ForwardContext, alive: object = (layer, norm, kernels)) -> None:  # noqa: ARG001
        call(handle, mlp_pointer, norm_pointer, hidden.data_ptr(), len(hidden))

    return run


def _mixture_block(layer: DeepSeekMoE, norm: Tensor, eps: float, kernels: NativeKernels) -> Block:
    before = Norm(address(norm), eps)
    experts = (Mlp * len(layer.experts))(*map(_mlp, layer.experts))
    shared = None if layer.shared_experts is None else _mlp(layer.shared_experts)
    mixture = Mixture(
        _router(layer.gate),
        ctypes.addressof(experts),
        None if shared is None else ctypes.addressof(shared),
    )
    call, handle = kernels.functions.deepseek_mixture, kernels.handle
    mixture_pointer, norm_pointer = ctypes.byref(mixture), ctypes.byref(before)
    row, keep = layer.layer, (layer, norm, kernels, experts, shared)

    def run(hidden: Tensor, ctx: ForwardContext, alive: object = keep) -> None:  # noqa: ARG001
        counts = None if ctx.expert_counts is None else ctx.expert_counts[row].data_ptr()
        call(handle, mixture_pointer, norm_pointer, hidden.data_ptr(), len(hidden), counts)

    return run


def _mlps(layer: DeepSeekMoE) -> list[MLP]:
    return [*layer.experts, *([] if layer.shared_experts is None else [layer.shared_experts])]


def _fits(layer: MLP) -> bool:
    linears: list[Linear] = [*layer.gate_up_proj.groups, layer.down_proj]
    return all(is_native(linear.weight) and linear.bias is None for linear in linears) and _splits(
        layer.gate_up_proj
    )


def _splits(stacked: StackedLinear) -> bool:
    """Whether each projection begins at a whole block of its matrix."""
    return all(rows % BLOCK_ROWS == 0 for sizes in stacked.sizes for rows in sizes[:-1])


def _mlp(layer: MLP) -> Mlp:
    gate, up = split_rows(layer.gate_up_proj)
    return Mlp(gate, up, Matrix.of(layer.down_proj.weight))


def _router(gate: Gate) -> Router:
    moe = gate.moe
    normalised = moe.norm_topk_prob and (gate.scale_normalised or moe.num_experts_per_tok > 1)
    scaled = not normalised or gate.scale_normalised
    return Router(
        weight=address(gate.weight),
        bias=address(gate.correction_bias),
        num_experts=moe.n_routed_experts,
        per_token=moe.num_experts_per_tok,
        **_groups(moe),
        sigmoid=moe.scoring_func != "softmax",
        normalise=normalised,
        scale=moe.routed_scaling_factor if scaled else 1.0,
    )


def _groups(moe: MoEConfig) -> dict[str, float]:
    """How experts of other groups are left out; see models/gate.py."""
    if moe.topk_method not in ("group_limited_greedy", "noaux_tc"):
        return {"num_groups": 1, "kept_groups": 0, "ranked_by": 1, "hidden": 0.0}
    limited = moe.topk_method == "group_limited_greedy"
    return {
        "num_groups": moe.n_group,
        "kept_groups": moe.topk_group,
        "ranked_by": 1 if limited else 2,
        "hidden": 0.0 if limited else float("-inf"),
    }
