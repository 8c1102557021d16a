"""The C structs that native calls take, as ctypes sees them; fields as in cpu/matrix.h and cpu/layer_parts.h.

A struct holds addresses and keeps nothing alive: whoever makes one holds on to the tensors.
"""

from __future__ import annotations

import ctypes

from torch import Tensor

from local_backend.kernels.base import PackedWeight
from local_backend.kernels.native_layout import BLOCK_ROWS

__all__ = [
    "AttentionSegment",
    "Batch",
    "GqaLayer",
    "KeyShape",
    "KeyValueCache",
    "LatentCache",
    "LatentExpansion",
    "Matrix",
    "Mixture",
    "MlaLayer",
    "Mlp",
    "Norm",
    "Projections",
    "Router",
    "address",
]

_int32 = ctypes.c_int32
_int64 = ctypes.c_int64
_float = ctypes.c_float
_pointer = ctypes.c_void_p


def address(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor's numbers lie; None for none."""
    return None if tensor is None else tensor.data_ptr()


class Matrix(ctypes.Structure):
    """A quantised matrix, or some blocks of one."""

    _fields_ = (
        ("bits", _int32),
        ("has_minimum", _int32),
        ("rows", _int64),
        ("columns", _int64),
        ("blocks", _pointer),
        ("unit", _pointer),
    )

    @classmethod
    def of(cls, weight: PackedWeight, first: int = 0, rows: int | None = None) -> Matrix:
        """Describe rows [first, first + rows) of a matrix in the native layout; first is a multiple of 16."""
        blocks, unit = weight.tensors["blocks"], weight.tensors["unit"]
        codes = 256 if weight.scheme == "int4" else 512
        return cls(
            bits=4 if weight.scheme == "int4" else 8,
            has_minimum=blocks.shape[2] > codes + 2 * BLOCK_ROWS,
            rows=weight.rows if rows is None else rows,
            columns=weight.columns,
            blocks=blocks.data_ptr() + first // BLOCK_ROWS * blocks.stride(0),
            unit=unit.data_ptr() + first * unit.itemsize,
        )


class Norm(ctypes.Structure):
    """A root-mean-square norm."""

    _fields_ = (("weight", _pointer), ("epsilon", _float))


class Mlp(ctypes.Structure):
    """A SwiGLU block."""

    _fields_ = (("gate", Matrix), ("up", Matrix), ("down", Matrix))


class Router(ctypes.Structure):
    """The gate of a mixture of experts."""

    _fields_ = (
        ("weight", _pointer),
        ("bias", _pointer),
        ("num_experts", _int32),
        ("per_token", _int32),
        ("num_groups", _int32),
        ("kept_groups", _int32),
        ("ranked_by", _int32),
        ("sigmoid", _int32),
        ("normalise", _int32),
        ("hidden", _float),
        ("scale", _float),
    )


class Mixture(ctypes.Structure):
    """A mixture of experts."""

    _fields_ = (("router", Router), ("experts", _pointer), ("shared", _pointer))


class Projections(ctypes.Structure):
    """One to three matrices of one input."""

    _fields_ = (("count", _int64), ("matrices", Matrix * 3), ("bias", _pointer))


class KeyValueCache(ctypes.Structure):
    """One layer's tiles of keys and values."""

    _fields_ = (("tiles", _pointer), ("num_kv_heads", _int64), ("head_dim", _int64), ("block_size", _int64))


class KeyShape(ctypes.Structure):
    """Numbers of a latent and of its rotary key."""

    _fields_ = (("rank", _int64), ("rope", _int64))


class LatentCache(ctypes.Structure):
    """One layer's tiles of latents."""

    _fields_ = (("tiles", _pointer), ("shape", KeyShape), ("tiles_per_block", _int64))


class LatentExpansion(ctypes.Structure):
    """What keys and values of all heads are made of."""

    _fields_ = (
        ("codes", _pointer),
        ("unit", _pointer),
        ("start", _pointer),
        ("num_heads", _int64),
        ("nope", _int64),
        ("value", _int64),
    )


class AttentionSegment(ctypes.Structure):
    """The new rows of one sequence."""

    _fields_ = (
        ("block_table", _pointer),
        ("first_row", _int64),
        ("num_rows", _int64),
        ("context_len", _int64),
    )


class Batch(ctypes.Structure):
    """The tokens of one pass."""

    _fields_ = (
        ("turns", _pointer),
        ("slots", _pointer),
        ("segments", _pointer),
        ("num_segments", _int64),
        ("num_tokens", _int64),
    )


class GqaLayer(ctypes.Structure):
    """A grouped-query attention layer."""

    _fields_ = (
        ("norm", Norm),
        ("qkv", Projections),
        ("output", Projections),
        ("cache", KeyValueCache),
        ("num_heads", _int64),
        ("num_pairs", _int64),
        ("scale", _float),
    )


class MlaLayer(ctypes.Structure):
    """A latent attention layer over a rotated cache."""

    _fields_ = (
        ("norm", Norm),
        ("input", Projections),
        ("query_norm", Norm),
        ("query_up", Projections),
        ("latent_norm", Norm),
        ("query_scale", _pointer),
        ("key_scale", _pointer),
        ("latent_block", _int64),
        ("rotary_block", _int64),
        ("key_up", Matrix),
        ("value_up", Matrix),
        ("expansion", LatentExpansion),
        ("output", Projections),
        ("cache", LatentCache),
        ("scale", _float),
    )
