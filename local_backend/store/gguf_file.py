"""Read a GGUF file under Hugging Face tensor names."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.errors import UnsupportedModelError
from local_backend.kernels.base import GROUP_SIZE, QuantizedTensor
from local_backend.store.checkpoint import RowRange, carried, interleave_rotary_rows
from local_backend.store.config_checks import errors_in
from local_backend.store.config_gguf import config_from_gguf
from local_backend.store.gguf_header import GGUFTensor, map_file, read_gguf_header
from local_backend.store.gguf_names import SplitKVB, sources_by_hf_name
from local_backend.store.quantize import (
    Bytes,
    is_float_kind,
    is_readable_kind,
    quantize_rows,
    read_gguf_floats,
    read_gguf_matrix,
)

__all__ = ["GGUFFile"]

_ROPE_FACTORS = "rope_freqs.weight"
_READABLE = "Q4_K_M, Q5_K_M, Q6_K or Q8_0"


class GGUFFile:
    """A GGUF checkpoint; tensors are read from the memory-mapped file and their pages given back.

    Quantised matrices keep their codes, or are rounded once to int8 (store/quantize.py). So is kv_b_proj
    where it is put together from quantised k_b and v_b, whose groups run along different dimensions.

    Raises:
        CheckpointError: The file is missing, truncated or malformed.
        UnsupportedModelError: It is sound, but its version or a tensor's type is not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = map_file(path)
        self._header = read_gguf_header(self._data, path)
        tensors = dict(self._header.tensors)
        self._rope_factors = tensors.pop(_ROPE_FACTORS, None)  # part of the config
        self._sources = sources_by_hf_name(tensors)

    @cached_property
    def config(self) -> ModelConfig:
        """Shape of the model, from the metadata and some tensors."""
        embedding, factors = self._sources.get("model.embed_tokens.weight"), self._rope_factors
        with errors_in(self.path):
            config = config_from_gguf(
                self._header.metadata,
                vocab_size=embedding.shape[0] if embedding is not None else 0,
                tied="lm_head.weight" not in self._sources,
                rope_factors=tuple(self._floats(factors).view(-1).tolist()) if factors is not None else (),
                correction_bias=any(name.endswith(".e_score_correction_bias") for name in self._sources),
            )
        return carried(config, self._sources)

    def names(self) -> set[str]:
        """Names of all tensors present, Hugging Face's where there is one."""
        return set(self._sources)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, outermost dimension first."""
        return self._sources[name].shape

    def file(self, name: str) -> Path:  # noqa: ARG002 - every tensor is in the one file
        """The GGUF file, which holds every tensor."""
        return self.path

    def check_types(self, names: Iterable[str]) -> None:
        """Check that tensors are in types that are read.

        Raises:
            UnsupportedModelError: One is not.
        """
        readable: dict[int, bool] = {}
        for name in names:
            for tensor in self._parts(name):
                kind = tensor.kind
                if not readable.setdefault(kind, readable.get(kind) or is_readable_kind(kind)):
                    raise UnsupportedModelError(
                        f"{self.path}: tensor {name!r} has GGUF type {kind.name}, which is not read",
                        help_message=f"Use a file quantised as {_READABLE}.",
                    )

    def _parts(self, name: str) -> tuple[GGUFTensor, ...]:
        source = self._sources[name]
        return (source.k_b, source.v_b) if isinstance(source, SplitKVB) else (source,)

    def matrix(self, name: str, rows: RowRange | None = None) -> QuantizedTensor | Tensor:
        """Read a weight matrix, or some of its rows."""
        source = self._sources[name]
        first, last = rows or (0, source.shape[0])
        if isinstance(source, SplitKVB):
            return self._joined_kv_b(source, first, last)
        order = self._rotary_order(name)
        data = self._rows(source, slice(first, last) if order is None else order[first:last].numpy())
        matrix = read_gguf_matrix(data, source.kind, last - first, source.shape[1])
        self._forget_pages(source)
        return matrix

    def vector(self, name: str) -> Tensor:
        """Read a norm weight, a bias or a gate as float32."""
        (tensor,) = self._parts(name)
        values = self._floats(tensor).view(tensor.shape)
        order = self._rotary_order(name)
        return values if order is None else values[order]

    def _joined_kv_b(self, source: SplitKVB, first: int, last: int) -> QuantizedTensor | Tensor:
        """Rows [first, last) of kv_b_proj: for each head those of its key, then those of its value."""
        start, stop = first // source.head_rows, -(-last // source.head_rows)
        rank = source.shape[1]
        k_b = self._heads(source.k_b, start, stop).transpose(1, 2)  # (num_heads, qk_nope_head_dim, rank)
        v_b = self._heads(source.v_b, start, stop)  # (num_heads, v_head_dim, rank)
        skipped = start * source.head_rows
        matrix = torch.cat((k_b, v_b), dim=1).reshape(-1, rank)[first - skipped : last - skipped]
        if (is_float_kind(source.k_b.kind) and is_float_kind(source.v_b.kind)) or rank % GROUP_SIZE:
            return matrix
        return quantize_rows(matrix, "int8")

    def _heads(self, tensor: GGUFTensor, start: int, stop: int) -> Tensor:
        """float32 matrices of some heads, (stop - start, rows, columns)."""
        rows = tensor.shape[1]
        return self._floats(tensor, slice(start * rows, stop * rows)).view(-1, *tensor.shape[1:])

    def _floats(self, tensor: GGUFTensor, rows: slice | None = None) -> Tensor:
        data = self._rows(tensor, rows)
        values = read_gguf_floats(data, tensor.kind, len(data), tensor.shape[-1])
        self._forget_pages(tensor)
        return values

    def _rows(self, tensor: GGUFTensor, rows: slice | npt.NDArray[np.int64] | None) -> Bytes:
        """Raw bytes (num_rows, bytes per row); a view of the mapping unless rows are picked one by one."""
        data = np.frombuffer(self._data, np.uint8, tensor.end - tensor.start, tensor.start)
        matrix = data.reshape(prod(tensor.shape[:-1]), -1)
        return matrix if rows is None else matrix[rows]

    def _rotary_order(self, name: str) -> Tensor | None:
        """Converters store rotary rows of llama and deepseek2 as pairs already, of others as halves."""
        config = self.config
        if config.model_type == "llama" or config.mla is not None:
            return None
        if ".q_proj." in name:
            return interleave_rotary_rows(config.num_attention_heads, config.head_dim)
        if ".k_proj." in name:
            return interleave_rotary_rows(config.num_key_value_heads, config.head_dim)
        return None

    def _forget_pages(self, tensor: GGUFTensor) -> None:
        """Give a read tensor's pages back, so that packing peaks at one chunk and not at the file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            first = tensor.start - tensor.start % mmap.PAGESIZE
            self._data.madvise(mmap.MADV_DONTNEED, first, tensor.end - first)
