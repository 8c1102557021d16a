"""Write a toy as one GGUF file, as llama.cpp's converter and quantiser would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGUFWriter
from gguf import GGMLQuantizationType as GGMLType
from gguf.quants import quantize
from torch import Tensor

from local_backend.errors import ConfigError
from local_backend.testing.configs import toy_config
from local_backend.testing.gguf_keys import add_model_keys, add_tokenizer_keys, gguf_architecture
from local_backend.testing.gguf_tensors import gguf_tensors
from local_backend.testing.tensors import toy_mtp_tensors, toy_tensors

__all__ = ["write_toy_gguf"]


def write_toy_gguf(
    path: Path,
    model: str | Mapping[str, Any],
    *,
    tensors: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    kind: str = "F32",
    split_kv_b: bool = True,
    mtp: bool = False,
    **changes: Any,
) -> Path:
    """Write a file that `LocalEngine.load` and llama.cpp read; returns the path.

    Args:
        path: Written anew; its folder must be there.
        model: A family of TOY_FAMILIES, or a whole config.json.
        tensors: Weights by Hugging Face name; None draws them from `seed`.
        seed: Of the random weights.
        kind: GGML type of matrices: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0. Gates, and rows that
            its blocks do not divide, stay F32, as do vectors.
        split_kv_b: False writes DeepSeek's kv_b_proj whole, as old files have it.
        mtp: Add V3's multi-token prediction module, which converters leave out unless asked to.
        **changes: Keys of config.json to replace.

    Raises:
        ConfigError: No such family or type, or the format cannot say what the config does.
    """
    config = toy_config(model, **changes) if isinstance(model, str) else {**model, **changes}
    if kind not in GGMLType.__members__:
        raise ConfigError(f"there is no GGML type {kind!r}", help_message="Types are F32, Q4_0, Q8_0, ….")
    weights = dict(toy_tensors(config, seed) if tensors is None else tensors)
    if mtp:
        weights = toy_mtp_tensors(config, seed) | weights
    writer = GGUFWriter(path, gguf_architecture(config))
    add_model_keys(writer, config, split_kv_b=split_kv_b, mtp=mtp)
    add_tokenizer_keys(writer, config)
    for name, tensor in gguf_tensors(config, weights, split_kv_b=split_kv_b):
        stored = _stored_type(name, tensor, GGMLType[kind])
        writer.add_tensor(name, quantize(tensor.float().numpy(), stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _stored_type(name: str, tensor: Tensor, kind: GGMLType) -> GGMLType:
    if tensor.dim() == 1 or "ffn_gate_inp" in name or tensor.shape[-1] % GGML_QUANT_SIZES[kind][0]:
        return GGMLType.F32
    return kind
