"""Write a toy as a Hugging Face folder: config, safetensors in one file or several, tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from local_backend.families.gguf_tokenizer import tokenizer_json_from_gguf
from local_backend.testing.configs import toy_config
from local_backend.testing.fp8 import FP8_SETTINGS, quantize_fp8
from local_backend.testing.tensors import toy_mtp_tensors, toy_tensors
from local_backend.testing.vocabulary import toy_vocabulary

__all__ = ["write_toy_folder", "write_toy_tokenizer"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def write_toy_folder(
    folder: Path,
    model: str | Mapping[str, Any],
    *,
    tensors: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    fp8: bool = False,
    mtp: bool = False,
    shards: int = 1,
    **changes: Any,
) -> Path:
    """Write a checkpoint that `LocalEngine.load` and transformers read; returns the folder.

    Args:
        folder: Made when it is not there.
        model: A family of TOY_FAMILIES, or a whole config.json.
        tensors: Weights by Hugging Face name; None draws them from `seed`.
        seed: Of the random weights.
        dtype: What weights are stored as; None leaves them as they are (drawn ones are float32).
        fp8: Store projections in float8 with block scales, as V3 is published; the block size is
            quantization_config's.
        mtp: Add V3's multi-token prediction module, drawn from `seed`; a module among `tensors` is kept.
        shards: Files to spread the tensors over; more than one come with an index.
        **changes: Keys of config.json to replace.

    Raises:
        ConfigError: No such family.
    """
    config = toy_config(model, **changes) if isinstance(model, str) else {**model, **changes}
    stored = dict(toy_tensors(config, seed) if tensors is None else tensors)
    if mtp:
        stored = toy_mtp_tensors(config, seed) | stored
    if dtype is not None:
        stored = {name: tensor.to(_dtype_of(name, dtype)) for name, tensor in stored.items()}
        config["torch_dtype"] = dtype
    if fp8:
        config.setdefault("quantization_config", dict(FP8_SETTINGS))
        stored = quantize_fp8(stored, config["quantization_config"]["weight_block_size"])
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder, stored, shards)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    write_toy_tokenizer(folder, str(config["model_type"]))
    return folder


def write_toy_tokenizer(folder: Path, model_type: str = "qwen2") -> None:
    """Write tokenizer.json and tokenizer_config.json of a toy vocabulary into a folder."""
    metadata = toy_vocabulary(model_type)
    tokens = metadata["tokenizer.ggml.tokens"]
    text = tokenizer_json_from_gguf(metadata).tokenizer_json
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    settings = {
        "bos_token": tokens[metadata["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[metadata["tokenizer.ggml.eos_token_id"]],
        "add_bos_token": metadata["tokenizer.ggml.add_bos_token"],
        "chat_template": metadata["tokenizer.chat_template"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")


def _dtype_of(name: str, dtype: str) -> torch.dtype:
    """The gate's bias stays float32 in published checkpoints."""
    return torch.float32 if name.endswith("e_score_correction_bias") else _DTYPES[dtype]


def _save(folder: Path, tensors: Mapping[str, Tensor], shards: int) -> None:
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
