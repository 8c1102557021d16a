"""Packed weights: made once per checkpoint, quantisation and kernel layout, memory-mapped from then on.

<packed_dir>/<sha256>-<quantization>-<layout>-v<n>/weights.safetensors is written under a temporary name,
then renamed, by whoever holds <packed_dir>/….lock; a process that is killed leaves a temporary file only,
which the next one to pack removes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from local_backend.config import Quantization
from local_backend.errors import CheckpointError
from local_backend.kernels.base import Kernels
from local_backend.store.atomic import sync_directory
from local_backend.store.checkpoint import Checkpoint, open_checkpoint
from local_backend.store.lock import file_lock
from local_backend.store.packed_file import PackedModel, PackedWriter, max_tensors, read_packed_file
from local_backend.store.packing import pack_expert_stack, pack_stack, read_vector, vector_names
from local_backend.store.paths import packed_dir
from local_backend.store.tensor_checks import check_tensors, report_unused
from local_backend.store.tensor_shapes import matrix_stacks

__all__ = ["WEIGHTS_FILE", "PackedModel", "load_or_pack", "pack_checkpoint", "packed_name"]

FORMAT_VERSION = 4
WEIGHTS_FILE = "weights.safetensors"
PackProgress = Callable[[int, int], None]

_log = logging.getLogger(__name__)


def load_or_pack(
    path: Path,
    digest: str,
    kernels: Kernels,
    quantization: Quantization,
    progress: PackProgress | None = None,
) -> PackedModel:
    """Map the packed copy of a checkpoint, making it first if there is none or if it is damaged.

    Processes that need the same copy wait for the one that makes it.

    Args:
        path: The checkpoint.
        digest: Its SHA-256 (store/source_hash.py).
        kernels: Decides the layout.
        quantization: For unquantised sources.
        progress: Called with (stacks of matrices done, stacks in all) while packing.

    Raises:
        CheckpointError: The checkpoint is damaged, or the copy cannot be written.
    """
    directory = packed_dir() / packed_name(digest, quantization, kernels.layout)
    found = _load_if_sound(directory)
    if found is not None:
        return found
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(directory.with_name(f"{directory.name}.lock")):
            found = _load_if_sound(directory)  # another process may have made it while we waited
            if found is not None:
                return found
            pack_checkpoint(open_checkpoint(path), kernels, quantization, directory, progress)
            return read_packed_file(directory / WEIGHTS_FILE)
    except OSError as error:
        raise _cannot_write(directory, error) from error


def packed_name(source_hash: str, quantization: Quantization, layout: str) -> str:
    """Directory name of a packed copy."""
    return f"{source_hash}-{quantization}-{layout}-v{FORMAT_VERSION}"


def pack_checkpoint(
    checkpoint: Checkpoint,
    kernels: Kernels,
    quantization: Quantization,
    directory: Path,
    progress: PackProgress | None = None,
) -> None:
    """Write directory/weights.safetensors; one process at a time per directory.

    Raises:
        CheckpointError: Tensors are missing, misshapen or of a type that is not read, all found before any is
            read; one has NaN or infinity; or the disk is full.
    """
    check_tensors(checkpoint)
    for unused in report_unused(checkpoint):
        _log.log(logging.INFO if unused.expected else logging.WARNING, "%s: %s", checkpoint.path, unused)
    temporary = directory / f".{WEIGHTS_FILE}.{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for stale in directory.glob(f".{WEIGHTS_FILE}.*"):
            stale.unlink(missing_ok=True)
        _write(checkpoint, kernels, quantization, temporary, progress)
        temporary.replace(directory / WEIGHTS_FILE)
        sync_directory(directory)
    except OSError as error:
        raise _cannot_write(directory, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        with suppress(OSError):
            directory.rmdir()  # only when nothing was written


def _write(
    checkpoint: Checkpoint,
    kernels: Kernels,
    quantization: Quantization,
    target: Path,
    progress: PackProgress | None,
) -> None:
    config, vectors = checkpoint.config, vector_names(checkpoint)
    stacks = matrix_stacks(config)
    with target.open("wb") as file:
        writer = PackedWriter(file, max_tensors(len(stacks), len(vectors)))
        for name in vectors:  # first, because damage in them is found soonest
            writer.add_vector(name, read_vector(checkpoint, name))
        for index, stack in enumerate(stacks):
            if config.moe is not None and "*" in stack[0]:
                experts = config.moe.n_routed_experts
                for name, number, packed in pack_expert_stack(
                    checkpoint, kernels, quantization, stack, experts
                ):
                    writer.add_matrix(name, packed, number=number, count=experts)
            else:
                for name, packed in pack_stack(checkpoint, kernels, quantization, stack):
                    writer.add_matrix(name, packed)
            if progress is not None:
                progress(index + 1, len(stacks))
        writer.finish(config)


def _load_if_sound(directory: Path) -> PackedModel | None:
    path = directory / WEIGHTS_FILE
    if not path.exists():
        return None
    try:
        return read_packed_file(path)
    except CheckpointError as error:
        _log.warning("packing the weights again: %s", error)
        return None


def _cannot_write(directory: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"the packed weights could not be written to {directory}: {error}",
        help_message="Free disk space, or point DEEPSEEK_APPS_CACHE_DIR elsewhere.",
    )
