"""Projections of one input as native calls take them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.kernels.native_structs import Matrix, Projections, address
from local_backend.layers.linear import Linear
from local_backend.models.native_blocks import is_native

__all__ = ["NativeProjections"]

MAX_MATRICES = 3  # that a struct holds


@dataclass(frozen=True, slots=True)
class NativeProjections:
    """Holds what the struct points to."""

    struct: Projections
    linears: tuple[Linear, ...]
    bias: Tensor | None

    @classmethod
    def of(cls, linears: tuple[Linear, ...]) -> NativeProjections | None:
        """Describe matrices of one input, one below the other; None if native calls cannot take them."""
        if len(linears) > MAX_MATRICES or not all(is_native(linear.weight) for linear in linears):
            return None
        bias = _joined(linears)
        matrices = (Matrix * MAX_MATRICES)(*(Matrix.of(linear.weight) for linear in linears))
        return cls(Projections(len(linears), matrices, address(bias)), linears, bias)


def _joined(linears: tuple[Linear, ...]) -> Tensor | None:
    """The biases of all rows; None when there are none."""
    if all(linear.bias is None for linear in linears):
        return None
    return torch.cat(
        [torch.zeros(linear.weight.rows) if linear.bias is None else linear.bias for linear in linears]
    )
