"""Read a Hugging Face folder: config.json and safetensors, one file or sharded with an index."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from torch import Tensor

from local_backend.architecture import ModelConfig
from local_backend.errors import CheckpointError, UnsupportedModelError
from local_backend.kernels.base import QuantizedTensor
from local_backend.store.checkpoint import RowRange, carried, interleave_rotary_rows
from local_backend.store.config_checks import errors_in
from local_backend.store.config_hf import config_from_hf
from local_backend.store.config_hf_deepseek import rotates_halves
from local_backend.store.fp8 import SCALE_SUFFIX, dequantize_blocks, fp8_block_shape, num_blocks
from local_backend.store.safetensors_file import StoredTensor, read_rows
from local_backend.store.shards import find_tensors, read_json

__all__ = ["HFFolder"]

_FLOATS = frozenset({"F32", "F16", "BF16"})
_SCALES = _FLOATS | {"F8_E8M0"}
_FP8 = "F8_E4M3"


class HFFolder:
    """A checkpoint folder; weights are read some rows at a time.

    fp8 weights are multiplied by their block scales while they are read; the scales themselves
    (`<name>_scale_inv`) are part of their weight and have no name of their own. Only config.json is read
    at first, the headers of the weight files when a tensor is asked for.

    Raises:
        CheckpointError: A file is missing or damaged.
        UnsupportedModelError: The config describes a model that is not implemented.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        config = read_json(path / "config.json")
        with errors_in(path / "config.json"):
            self._config = config_from_hf(config)
        self._fp8_block = fp8_block_shape(config)
        self._rotates_halves = self._config.mla is None or rotates_halves(config)

    @cached_property
    def config(self) -> ModelConfig:
        """Shape of the model; read from config.json alone, if that names no prediction module."""
        config = self._config
        return carried(config, self._tensors) if config.num_nextn_predict_layers else config

    @cached_property
    def _tensors(self) -> dict[str, StoredTensor]:
        return find_tensors(self.path)

    def names(self) -> set[str]:
        """Names of all tensors present, but for the scales of those that are there."""
        return {
            name
            for name in self._tensors
            if not (name.endswith(SCALE_SUFFIX) and name.removesuffix(SCALE_SUFFIX) in self._tensors)
        }

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._tensors[name].shape

    def file(self, name: str) -> Path:
        """The shard that a tensor is in."""
        return self._tensors[name].file

    def check_types(self, names: Iterable[str]) -> None:
        """Check from the headers that tensors are in a type that is read, fp8 ones with their scales.

        Raises:
            CheckpointError: An fp8 tensor has no scales, or scales of another shape.
            UnsupportedModelError: Another type.
        """
        for name in names:
            tensor = self._tensors[name]
            if tensor.dtype == _FP8 and len(tensor.shape) == 2:
                self._check_scales(name, tensor)
            elif tensor.dtype not in _FLOATS:
                raise UnsupportedModelError(
                    f"{tensor.file}: tensor {name!r} has type {tensor.dtype}, which is not read",
                    help_message="Use a checkpoint in float32, float16, bfloat16 or fp8 with block scales, "
                    "or a GGUF file.",
                )

    def _check_scales(self, name: str, tensor: StoredTensor) -> None:
        scale_name, wanted = f"{name}{SCALE_SUFFIX}", num_blocks(tensor.shape, self._fp8_block)
        rows, columns = self._fp8_block
        expected = f"expected {scale_name!r} of shape {list(wanted)}, one per block of {rows} x {columns}"
        scales = self._tensors.get(scale_name)
        if scales is None:
            raise CheckpointError(
                f"{tensor.file}: tensor {name!r} is fp8, but its scales are missing; {expected}",
                help_message="Copy every shard, or use a checkpoint in bfloat16.",
            )
        if scales.shape != wanted or scales.dtype not in _SCALES:
            raise CheckpointError(
                f"{scales.file}: {scale_name!r} is {scales.dtype} of shape {list(scales.shape)}; {expected}",
                help_message="Check weight_block_size in the config's quantization_config.",
            )

    def matrix(self, name: str, rows: RowRange | None = None) -> QuantizedTensor | Tensor:
        """Read a weight matrix, or some of its rows; float32 when it is stored as fp8."""
        return self._read(name, rows)

    def vector(self, name: str) -> Tensor:
        """Read a norm weight, a bias or a gate as float32."""
        return self._read(name, None).float()

    def _read(self, name: str, rows: RowRange | None) -> Tensor:
        self.check_types([name])
        shape = self._tensors[name].shape
        first, last = rows or (0, shape[0] if shape else 1)
        order = self._rotary_order(name)
        if order is None:
            return self._stored(name, first, last)
        picked = order[first:last]
        low = int(picked.min())
        return self._stored(name, low, int(picked.max()) + 1)[picked - low]

    def _stored(self, name: str, first: int, last: int) -> Tensor:
        """Rows [first, last) in the order they are stored in."""
        tensor = self._tensors[name]
        stored = read_rows(tensor, first, last)
        if tensor.dtype != _FP8:
            return stored
        step = self._fp8_block[0]
        scales = read_rows(self._tensors[f"{name}{SCALE_SUFFIX}"], first // step, -(-last // step))
        return dequantize_blocks(stored, scales, self._fp8_block, first % step)

    def _rotary_order(self, name: str) -> Tensor | None:
        """Order of rows that makes pairs of halves; None where rows carry no position or are pairs."""
        if not self._rotates_halves:
            return None
        config, mla = self._config, self._config.mla
        if ".q_proj." in name or ".q_b_proj." in name:
            plain = 0 if mla is None else mla.qk_nope_head_dim
            return interleave_rotary_rows(config.num_attention_heads, config.head_dim, plain)
        if ".k_proj." in name:
            return interleave_rotary_rows(config.num_key_value_heads, config.head_dim)
        if mla is not None and ".kv_a_proj_with_mqa." in name:
            return interleave_rotary_rows(1, mla.cached_numbers, mla.kv_lora_rank)
        return None
