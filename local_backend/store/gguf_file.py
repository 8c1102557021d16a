"""Read a GGUF file of a dense model under Hugging Face tensor names."""

from __future__ import annotations

import mmap
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from torch import Tensor

from local_backend.config import ModelConfig
from local_backend.errors import CheckpointError
from local_backend.kernels.base import QuantizedTensor
from local_backend.store.checkpoint import interleave_rotary_rows, reorder_rows
from local_backend.store.quantize import read_gguf_matrix

__all__ = ["GGUFFile", "read_gguf_metadata"]

_TOP_LEVEL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _hf_name(name: str) -> str | None:
    if name in _TOP_LEVEL:
        return _TOP_LEVEL[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if match is None or match[2] not in _IN_LAYER:
        return None
    return f"model.layers.{match[1]}.{_IN_LAYER[match[2]]}.{match[3]}"


def _open(path: Path) -> GGUFReader:
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError, TypeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} is not a readable GGUF file: {error}",
            help_message="The file may be cut short or of another format; fetch it again.",
        ) from error


def read_gguf_metadata(path: Path) -> dict[str, Any]:
    """Return all key-value pairs of a GGUF file.

    Raises:
        CheckpointError: Not a readable GGUF file.
    """
    return {
        name: field.contents() for name, field in _open(path).fields.items() if not name.startswith("GGUF.")
    }


class GGUFFile:
    """A GGUF checkpoint; tensors are read from the memory-mapped file and their pages given back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _open(path)
        self._tensors = {hf: tensor for tensor in self._reader.tensors if (hf := _hf_name(tensor.name))}
        self._check_complete()

    def _check_complete(self) -> None:
        size = self.path.stat().st_size
        end = max((int(t.data_offset) + int(t.n_bytes) for t in self._reader.tensors), default=0)
        if end > size or not self._reader.tensors:
            raise CheckpointError(
                f"{self.path} is truncated: {size} bytes, its tensors end at {end}",
                help_message="Fetch the file again (`deepseek-apps models pull`, or copy it anew).",
            )

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """All key-value pairs but the token lists, which the tokenizer reads for itself."""
        fields = self._reader.fields.items()
        skipped = ("GGUF.", "tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type")
        return {name: field.contents() for name, field in fields if not name.startswith(skipped)}

    @cached_property
    def config(self) -> ModelConfig:
        """Shape of the model, from the metadata and the embedding matrix."""
        factors: tuple[float, ...] = ()
        for tensor in self._reader.tensors:
            if tensor.name == "rope_freqs.weight":
                factors = tuple(float(value) for value in tensor.data)
        embedding = self._tensors.get("model.embed_tokens.weight")
        return ModelConfig.from_gguf(
            self.metadata,
            vocab_size=int(embedding.shape[1]) if embedding is not None else 0,
            tied="lm_head.weight" not in self._tensors,
            rope_factors=factors,
        )

    def names(self) -> set[str]:
        """Hugging Face names of all tensors present."""
        return set(self._tensors)

    def matrix(self, name: str) -> QuantizedTensor | Tensor:
        """Read a weight matrix."""
        tensor = self._tensors[name]
        columns, rows = (int(size) for size in tensor.shape)
        data = tensor.data.view("uint8").reshape(-1)
        matrix = read_gguf_matrix(data, tensor.tensor_type, rows, columns)
        self._forget_pages(int(tensor.data_offset), int(tensor.n_bytes))
        order = self._rotary_order(name)
        return matrix if order is None else reorder_rows(matrix, order)

    def vector(self, name: str) -> Tensor:
        """Read a norm weight or a bias as float32."""
        tensor = self._tensors[name]
        values = torch.from_numpy(tensor.data.copy()).float().reshape(-1)
        order = self._rotary_order(name)
        return values if order is None else values[order]

    def _rotary_order(self, name: str) -> Tensor | None:
        """Converters store llama's query and key rows interleaved already, other architectures in halves."""
        if self.config.model_type == "llama":
            return None
        if ".q_proj." in name:
            return interleave_rotary_rows(self.config.num_attention_heads, self.config.head_dim)
        if ".k_proj." in name:
            return interleave_rotary_rows(self.config.num_key_value_heads, self.config.head_dim)
        return None

    def _forget_pages(self, offset: int, length: int) -> None:
        """Give a read tensor's pages back, so that packing peaks at one tensor and not at the file."""
        mapping = getattr(self._reader.data, "_mmap", None)
        if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            start = offset - offset % mmap.PAGESIZE
            mapping.madvise(mmap.MADV_DONTNEED, start, length + offset - start)
