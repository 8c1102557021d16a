"""Linear layers over packed weights; which kernel runs is the kernel set's business."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from local_backend.kernels.base import Kernels, PackedWeight

__all__ = ["Linear", "StackedLinear"]


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x W^T + b over one packed weight (out_features, in_features)."""

    weight: PackedWeight
    bias: Tensor | None
    kernels: Kernels

    def __call__(self, x: Tensor) -> Tensor:
        """Map (num_tokens, in_features) to (num_tokens, out_features)."""
        y = self.kernels.linear(x, self.weight)
        return y if self.bias is None else y.add_(self.bias)


@dataclass(frozen=True, slots=True)
class StackedLinear:
    """Several projections of one input, stacked into as few products as their storage allows.

    Attributes:
        groups: Products to run; the rows of each belong to one projection after the other.
        sizes: Per group, the out_features of its projections.
    """

    groups: tuple[Linear, ...]
    sizes: tuple[tuple[int, ...], ...]

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map (num_tokens, in_features) to one (num_tokens, out_features) per projection."""
        outputs: list[Tensor] = []
        for group, sizes in zip(self.groups, self.sizes, strict=True):
            y = group(x)
            outputs.extend(torch.split(y, list(sizes), dim=-1) if len(sizes) > 1 else (y,))
        return tuple(outputs)
