"""Serve measurements of our engine, one per line on stdin; the counterpart of llama_cpp_peer.py.

    .venv/bin/python benchmarks/engine_worker.py MODEL THREADS CONTEXT [--quantization int4]

Token ids in, token ids out: the engine alone, without tokenizer, server or engine thread. The protocol is
measured_process.py's. Of the model it says how large its packed weights are, how many of their bytes one
token reads, and how many the cache keeps per position; with every measurement, how often each expert has been
chosen so far. A cache of made-up positions is filled_cache.py's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

from local_backend.kernels.threads import settle_thread_waiting

settle_thread_waiting()

import torch  # noqa: E402 - after the line above, which torch reads once
from filled_cache import fill_cache  # noqa: E402
from measured_process import Run, serve, token_id  # noqa: E402

from local_backend.architecture import ModelConfig  # noqa: E402
from local_backend.cache.sizing import bytes_per_token as cached_bytes  # noqa: E402
from local_backend.cache.sizing import kept_dtype  # noqa: E402
from local_backend.config import EngineConfig  # noqa: E402
from local_backend.engine.engine import Engine  # noqa: E402
from local_backend.kernels.base import PackedWeight  # noqa: E402
from local_backend.kernels.dispatch import select_kernels  # noqa: E402
from local_backend.models.decoder import Decoder  # noqa: E402
from local_backend.sampling_params import SamplingParams  # noqa: E402
from local_backend.store.packed import PackedModel, load_or_pack  # noqa: E402
from local_backend.store.source_hash import source_hash  # noqa: E402

# What only other passes read: sums per row for the matrix products of prefill.
NOT_READ_BY_DECODE = {"row_scale"}
SPARE = 64  # positions beyond the context, for the rounding to blocks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("threads", type=int)
    parser.add_argument("context", type=int)
    parser.add_argument("--quantization", default="int8", help="for what the checkpoint leaves unquantised")
    parser.add_argument("--cache-dtype", default="auto")
    options = parser.parse_args()

    def load() -> tuple[Run, dict[str, object]]:
        torch.set_num_threads(options.threads)
        kernels = select_kernels()
        packed = load_or_pack(options.model, source_hash(options.model), kernels, options.quantization)
        at_most = cached_bytes(packed.config, kept_dtype(options.cache_dtype, kernels.dtype))
        config = EngineConfig(
            max_model_len=options.context,
            max_num_seqs=1,
            cache_dtype=options.cache_dtype,
            speculation="off",  # guesses are measured by speculation.py; here every token is computed
            max_kv_bytes=max(1 << 30, at_most * (options.context + SPARE)),
        )
        engine = Engine(Decoder.build(packed, kernels), config)
        return EngineRuns(engine, packed.config).run, {
            "kernels": kernels.layout,
            "packed": packed_bytes(packed),
            "parameters": parameters(packed),
            "per_token": bytes_per_token(packed),
            "per_position": engine.pool.block_bytes().block_bytes // config.block_size,
        }

    serve(load)


class EngineRuns:
    """Runs one prompt after the other, none with a prefix of another."""

    def __init__(self, engine: Engine, model: ModelConfig) -> None:
        self._engine = engine
        self._model = model

    def run(self, prompt: int, decoded: int, depth: int) -> dict[str, object]:
        """Prefill so many tokens after so many made-up ones, then decode; rates in tokens per second.

        Raises:
            SystemExit: The depth is not a multiple of the block size.
        """
        engine = self._engine
        if depth % engine.config.block_size:
            raise SystemExit(f"depth {depth} is not a multiple of {engine.config.block_size}")
        ids = [token_id(position, engine.vocab_size) for position in range(depth + prompt)]
        salt = str(time.perf_counter())
        if depth:
            fill_cache(engine, self._model, ids[:depth], salt)
        params = SamplingParams(temperature=0, max_tokens=decoded + 1)
        sequence = engine.new_sequence(ids, params, cache_salt=salt)
        engine.add(sequence)
        start = time.perf_counter()
        while not engine.step():
            pass
        middle = time.perf_counter()
        while not engine.scheduler.idle:
            engine.step()
        end = time.perf_counter()
        if (sequence.num_cached_tokens or 0) != depth:
            raise SystemExit(f"the engine found {sequence.num_cached_tokens} of {depth} made-up positions")
        rates = {"prefill": prompt / (middle - start), "decode": decoded / (end - middle)}
        return {**rates, "experts": self._experts()}

    def _experts(self) -> dict[int, list[int]]:
        statistics = self._engine.gate_statistics()
        if statistics is None:
            return {}
        return {row.layer: list(row.tokens_per_expert) for row in statistics.layers}


def packed_bytes(packed: PackedModel) -> int:
    """Return the bytes of all packed weights."""
    experts = (copy for copies in packed.experts.values() for copy in copies)
    vectors = sum(vector.nbytes for vector in packed.vectors.values())
    return vectors + sum(
        tensor.nbytes for weight in (*packed.weights.values(), *experts) for tensor in weight.tensors.values()
    )


def parameters(packed: PackedModel) -> int:
    """Return how many weights the model has."""
    experts = (copy for copies in packed.experts.values() for copy in copies)
    matrices = sum(weight.rows * weight.columns for weight in (*packed.weights.values(), *experts))
    return matrices + sum(vector.numel() for vector in packed.vectors.values())


def bytes_per_token(packed: PackedModel) -> int:
    """Return the bytes of weights that one decoded token reads; of the experts, as many as are chosen."""
    moe = packed.config.moe
    chosen = 0 if moe is None else moe.num_experts_per_tok
    embedding = "" if packed.config.tie_word_embeddings else "model.embed_tokens"
    weights = (weight for name, weight in packed.weights.items() if name != embedding)
    experts = (copy for copies in packed.experts.values() for copy in copies[:chosen])
    vectors = sum(vector.nbytes for vector in packed.vectors.values())
    return vectors + _read_bytes(weights) + _read_bytes(experts)


def _read_bytes(weights: Iterable[PackedWeight]) -> int:
    return sum(
        tensor.nbytes
        for weight in weights
        for part, tensor in weight.tensors.items()
        if part not in NOT_READ_BY_DECODE
    )


if __name__ == "__main__":
    main()
