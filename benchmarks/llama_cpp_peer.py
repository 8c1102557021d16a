"""Serve measurements of llama.cpp, one per line on stdin; run by an interpreter that has llama_cpp.

    PYTHON llama_cpp_peer.py MODEL.gguf THREADS CONTEXT

It works on token ids through llama.cpp's own C functions, so a file without a vocabulary will do. Batch
sizes and cache types are llama.cpp's defaults, the protocol is measured_process.py's. A cache of made-up
positions is a short prompt's, repeated (llama_cpp_state.py). Knows nothing of our engine.
"""

from __future__ import annotations

import ctypes
import sys
import time

import llama_cpp
from llama_cpp_state import deepen_state
from measured_process import Run, serve, token_id

SAMPLE = 64  # computed positions that a made-up cache repeats


def main() -> None:
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    path, threads, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    def load() -> tuple[Run, dict[str, object]]:
        peer = Peer(path, threads, context)
        return peer.run, peer.about

    serve(load)


class Peer:
    """One model and one context.

    Attributes:
        about: Bytes of all weights, and how many there are.

    Raises:
        SystemExit: llama.cpp refuses the file.
    """

    def __init__(self, path: str, threads: int, context: int) -> None:
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.about: dict[str, object] = {
            "packed": llama_cpp.llama_model_size(model),
            "parameters": llama_cpp.llama_model_n_params(model),
        }
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_threads, params.n_threads_batch = context, threads, threads
        self._batch = params.n_batch
        self._vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._context = llama_cpp.llama_init_from_model(model, params)
        if not self._context:
            raise SystemExit(f"llama.cpp cannot make a context of {context} tokens")

    def run(self, prompt: int, decoded: int, depth: int) -> dict[str, object]:
        """Prefill so many tokens after so many made-up ones, then decode; rates in tokens per second."""
        self._clear()
        if depth:
            self._fill(depth)
        ids = [token_id(position, self._vocab) for position in range(depth, depth + prompt + decoded)]
        start = time.perf_counter()
        for first in range(0, prompt, self._batch):
            self._decode(ids[first : min(first + self._batch, prompt)])
        middle = time.perf_counter()
        for token in ids[prompt:]:
            self._decode([token])
        end = time.perf_counter()
        return {"prefill": prompt / (middle - start), "decode": decoded / (end - middle)}

    def _clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def _fill(self, depth: int) -> None:
        self._decode([token_id(position, self._vocab) for position in range(min(depth, SAMPLE))])
        size = llama_cpp.llama_state_seq_get_size(self._context, 0)
        sample = (ctypes.c_uint8 * size)()
        if llama_cpp.llama_state_seq_get_data(self._context, sample, size, 0) != size:
            raise SystemExit("llama.cpp does not give its cache")
        deep = deepen_state(bytes(sample), depth)
        self._clear()
        buffer = (ctypes.c_uint8 * len(deep)).from_buffer(deep)
        if llama_cpp.llama_state_seq_set_data(self._context, buffer, len(deep), 0) != len(deep):
            raise SystemExit(f"llama.cpp does not take a cache of {depth} positions")

    def _decode(self, ids: list[int]) -> None:
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        if llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(tokens, len(ids))):
            raise SystemExit("llama_decode failed")
        llama_cpp.llama_synchronize(self._context)
        logits = llama_cpp.llama_get_logits_ith(self._context, -1)
        if not -1e4 < logits[0] < 1e4:
            raise SystemExit(f"the logits make no sense: {logits[0]}")


@llama_cpp.llama_log_callback
def _silent(_level: int, _text: bytes, _data: object) -> None:
    pass


if __name__ == "__main__":
    main()
