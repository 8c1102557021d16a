"""Serve measurements of transformers in bfloat16, one per line on stdin.

    PYTHON transformers_peer.py FOLDER THREADS CONTEXT

FOLDER is a checkpoint of DeepSeek-V2's kind as Hugging Face publishes them. Everything is transformers'
default; the protocol is measured_process.py's. Knows nothing of our engine.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
import transformers
from measured_process import Run, serve, token_id


def main() -> None:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])

    def load() -> tuple[Run, dict[str, object]]:
        torch.set_num_threads(threads)
        peer = Peer(folder)
        return peer.run, peer.about

    serve(load)


class Peer:
    """One model.

    Attributes:
        about: Bytes of all weights, and how many there are.
    """

    def __init__(self, folder: Path) -> None:
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self._model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        weights = list(self._model.parameters())
        self.about: dict[str, object] = {
            "packed": sum(weight.nbytes for weight in weights),
            "parameters": sum(weight.numel() for weight in weights),
        }

    @torch.inference_mode()
    def run(self, prompt: int, decoded: int, depth: int) -> dict[str, object]:
        """Prefill so many tokens after so many made-up ones, then decode; rates in tokens per second."""
        cache = transformers.DynamicCache()
        if depth:
            self._fill(cache, depth)
        vocab = self._model.config.vocab_size
        ids = torch.tensor(
            [[token_id(position, vocab) for position in range(depth, depth + prompt + decoded)]]
        )
        start = time.perf_counter()
        self._forward(ids[:, :prompt], cache)
        middle = time.perf_counter()
        for position in range(prompt, prompt + decoded):
            self._forward(ids[:, position : position + 1], cache)
        end = time.perf_counter()
        return {"prefill": prompt / (middle - start), "decode": decoded / (end - middle)}

    def _forward(self, ids: torch.Tensor, cache: transformers.DynamicCache) -> None:
        self._model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)

    def _fill(self, cache: transformers.DynamicCache, depth: int) -> None:
        """Random keys and values, of the sizes that a computed position has."""
        sample = transformers.DynamicCache()
        self._forward(torch.tensor([[1]]), sample)
        for index, layer in enumerate(sample.layers):
            key, value = (
                torch.randn(*part.shape[:2], depth, part.shape[3], dtype=part.dtype)
                for part in (layer.keys, layer.values)
            )
            cache.update(key, value, index)


if __name__ == "__main__":
    main()
