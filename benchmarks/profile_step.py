"""Where the time of one decoding step goes: native calls, matrix products alone, everything else.

    .venv/bin/python benchmarks/profile_step.py --depth 8192

Every function of the native library is timed from outside, in the engine, step by step; what is left of a
step is Python, torch, scheduling and sampling. A native call holds a whole half of a layer, so the matrix
products are also timed by themselves, over all matrices that a token reads: what a step takes beyond them is
attention, norms, rotary turns and glue. Timing costs about half a microsecond a call.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from report import Measurement, argument_parser, print_report

from local_backend.kernels.threads import settle_thread_waiting

settle_thread_waiting()

import torch  # noqa: E402 - after the line above, which torch reads once
from filled_cache import fill_cache  # noqa: E402
from measured_process import token_id  # noqa: E402

from local_backend.cache.sizing import bytes_per_token, kept_dtype  # noqa: E402
from local_backend.config import EngineConfig  # noqa: E402
from local_backend.engine.engine import Engine  # noqa: E402
from local_backend.kernels.dispatch import select_kernels  # noqa: E402
from local_backend.kernels.native import NativeKernels  # noqa: E402
from local_backend.models.decoder import Decoder  # noqa: E402
from local_backend.sampling_params import SamplingParams  # noqa: E402
from local_backend.store.catalog import resolve_model  # noqa: E402
from local_backend.store.packed import PackedModel, load_or_pack  # noqa: E402
from local_backend.store.source_hash import source_hash  # noqa: E402

WARM_UP, PROMPT, SPARE = 4, 16, 64


class TimedFunctions:
    """Passes calls on to the functions of a library and adds up the time of each.

    Attributes:
        seconds: By function, since the last `reset`.
    """

    def __init__(self, functions: object) -> None:
        self._functions = functions
        self.seconds: dict[str, float] = defaultdict(float)

    def reset(self) -> None:
        """Forget what was added up."""
        self.seconds.clear()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function, seconds = getattr(self._functions, name), self.seconds

        def timed(*args: Any) -> Any:
            start = time.perf_counter()
            found = function(*args)
            seconds[name] += time.perf_counter() - start
            return found

        return timed


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="starter", help="catalogue id, GGUF file or folder")
    parser.add_argument("--depth", type=int, default=0, help="made-up positions in the cache, by 16")
    parser.add_argument("--batch", type=int, default=1, help="requests decoded together (default: 1)")
    parser.add_argument("--steps", type=int, default=32, help="to take the median of (default: 32)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kernels = select_kernels("native", num_threads=options.threads)
    assert isinstance(kernels, NativeKernels)
    path = resolve_model(options.model)
    packed = load_or_pack(path, source_hash(path), kernels, "int8")
    products = products_alone(kernels, packed, options.steps)
    timed = TimedFunctions(kernels.functions)
    kernels.functions = timed  # type: ignore[assignment]
    steps = decode(timed, Decoder.build(packed, kernels), options)
    title = f"a decoding step of {path.name}, {options.batch} x depth {options.depth}"
    print_report(title, rows(steps, products if options.batch == 1 else None), as_json=options.json)


def products_alone(kernels: NativeKernels, packed: PackedModel, repeats: int) -> float:
    """Return the median milliseconds of every matrix product of one token, one after the other."""
    embedding = "" if packed.config.tie_word_embeddings else "model.embed_tokens"
    chosen = 0 if packed.config.moe is None else packed.config.moe.num_experts_per_tok
    weights = [weight for name, weight in packed.weights.items() if name != embedding]
    weights += [copy for copies in packed.experts.values() for copy in copies[:chosen]]
    pairs = [(torch.randn(1, weight.columns), weight) for weight in weights]
    found = []
    for _ in range(WARM_UP + repeats):
        start = time.perf_counter()
        for x, weight in pairs:
            kernels.linear(x, weight)
        found.append(1e3 * (time.perf_counter() - start))
    return statistics.median(found[WARM_UP:])


def decode(timed: TimedFunctions, model: Decoder, options: argparse.Namespace) -> list[dict[str, float]]:
    """Return milliseconds by function of every step; "step" is the whole."""
    length = options.depth + PROMPT
    per_position = bytes_per_token(model.config, kept_dtype("auto", model.kernels.dtype))
    room = per_position * options.batch * (length + options.steps + SPARE)
    engine = Engine(model, EngineConfig(max_kv_bytes=room, speculation="off"))
    for number in range(options.batch):
        ids = [token_id(number + i, engine.vocab_size) for i in range(length)]
        if options.depth:
            fill_cache(engine, model.config, ids[: options.depth], str(number))
        params = SamplingParams(temperature=0, max_tokens=options.steps + WARM_UP + 1)
        engine.add(engine.new_sequence(ids, params, cache_salt=str(number)))
    while engine.scheduler.waiting or any(seq.num_uncomputed_tokens > 1 for seq in engine.scheduler.running):
        engine.step()
    steps = []
    while len(steps) < WARM_UP + options.steps and not engine.scheduler.idle:
        timed.reset()
        start = time.perf_counter()
        engine.step()
        whole = time.perf_counter() - start
        steps.append({name: 1e3 * seconds for name, seconds in timed.seconds.items()} | {"step": 1e3 * whole})
    return steps[WARM_UP:]


def rows(steps: list[dict[str, float]], products: float | None) -> list[Measurement]:
    """Medians over the steps as shares of it, most expensive first."""
    whole = statistics.median(step["step"] for step in steps)
    names = {name for step in steps for name in step if name != "step"}
    parts = {name: statistics.median(step.get(name, 0.0) for step in steps) for name in names}
    parts["outside native calls"] = statistics.median(
        step["step"] - sum(step.get(name, 0.0) for name in names) for step in steps
    )

    def share(name: str, value: float) -> Measurement:
        return Measurement(name=name, value=value, unit="ms", limit=whole, kind="ceiling")

    lines = [Measurement(name="step", value=whole, unit="ms", note=f"{1e3 / whole:.1f} steps/s")]
    lines += [share(name, value) for name, value in sorted(parts.items(), key=lambda part: -part[1])]
    if products is not None:
        lines.append(share("matrix products by themselves", products))
        lines.append(share("beyond matrix products", whole - products))
    return lines


if __name__ == "__main__":
    main()
