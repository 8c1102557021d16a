"""Each kernel against what this machine can do at most: bytes for one row, arithmetic for many.

Shapes are those of the 1.5B starter model. Weights are random, in enough copies that none stays in a cache.
One row has to read every weight byte once, so its ceiling is the measured read bandwidth. 512 rows are bound
by arithmetic; their ceiling is the fastest dense product torch has here, whatever its number type. Native
kernels add the calls that hold more than a product, at V2-Lite's shape too (native_rows.py); "attention" is
torch's there, which they use where a model's form has no native call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle

import torch
from native_rows import native_rows
from report import Measurement, argument_parser, print_report
from timing import median_seconds

from local_backend.kernels.base import GROUP_SIZE, Kernels, PackedWeight, QuantizedTensor
from local_backend.kernels.dispatch import select_kernels
from local_backend.kernels.native import NativeKernels

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM = 1536, 8960, 12, 2, 128
# name, rows (out_features), columns (in_features)
SHAPES = (
    ("qkv", (HEADS + 2 * KV_HEADS) * HEAD_DIM, HIDDEN),
    ("o", HIDDEN, HEADS * HEAD_DIM),
    ("gate+up", 2 * INTERMEDIATE, HIDDEN),
    ("down", HIDDEN, INTERMEDIATE),
)
CONTEXT = 4096
UNCACHED_BYTES = 200_000_000


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--kernels", choices=("auto", "reference"), default="auto", help="kernel set")
    parser.add_argument("--rounds", type=int, default=15, help="timings per number (default: 15)")
    options = parser.parse_args()
    torch.manual_seed(0)
    kernels = select_kernels(options.kernels)
    with torch.inference_mode():
        bandwidth, arithmetic = read_bandwidth(), matrix_rate()
        rows = [
            Measurement(name="read bandwidth", value=bandwidth, unit="GB/s", note="sum of 1 GiB of float32"),
            Measurement(
                name="matrix rate", value=arithmetic, unit="GFLOP/s", note="best of float32, bfloat16, int8"
            ),
        ]
        for scheme in ("int4", "int8"):
            for name, out_features, in_features in SHAPES:
                make = partial(random_weight, kernels, scheme, (out_features, in_features))
                found = linear_rows(kernels, make, bandwidth, arithmetic, rounds=options.rounds)
                rows += [replace(row, name=f"linear {scheme} {name}, {row.name}") for row in found]
        rows += attention_rows(kernels, bandwidth, options.rounds)
        rows += elementwise_rows(kernels, options.rounds)
        if isinstance(kernels, NativeKernels):
            rows += native_rows(kernels, bandwidth, arithmetic, options.rounds)
    print_report(f"kernels {kernels.layout}", rows, as_json=options.json)


def read_bandwidth() -> float:
    """Return GB/s of the best of ten sums; within 10 % of a hand-written loop."""
    data = torch.ones(1 << 28)
    best = 0.0
    for _ in range(10):
        start = time.perf_counter()
        data.sum()
        best = max(best, data.nbytes / (time.perf_counter() - start) / 1e9)
    return best


def matrix_rate(size: int = 2048) -> float:
    """Return GFLOP/s of torch's fastest product of two square matrices."""
    wide = torch.randn(size, size)
    narrow = wide.bfloat16()
    codes = (wide * 20).to(torch.int8)
    products = (
        lambda: torch.mm(wide, wide),
        lambda: torch.mm(narrow, narrow),
        lambda: torch._int_mm(codes, codes),
    )
    return max(2 * size**3 / median_seconds(product, 5) / 1e9 for product in products)


def random_weight(kernels: Kernels, scheme: str, shape: tuple[int, int]) -> PackedWeight:
    """Return a packed matrix of random codes."""
    if scheme == "int4":
        q = torch.randint(0, 16, shape, dtype=torch.uint8)
    else:
        q = torch.randint(-128, 128, shape, dtype=torch.int8)
    scale = torch.rand(shape[0], shape[1] // GROUP_SIZE) * 0.01 + 0.001
    return kernels.pack(QuantizedTensor(q, scale))


def linear_rows(
    kernels: Kernels, make: Callable[[], PackedWeight], bandwidth: float, arithmetic: float, *, rounds: int
) -> list[Measurement]:
    """Measure one matrix with one row and with 512."""
    first = make()
    size = sum(tensor.nbytes for tensor in first.tensors.values())
    weights = [first] + [make() for _ in range(UNCACHED_BYTES // size)]
    turns = cycle(weights)
    one, many = (torch.randn(count, first.columns).to(kernels.dtype) for count in (1, 512))
    decode = median_seconds(lambda: kernels.linear(one, next(turns)), max(rounds, 2 * len(weights)))
    prefill = median_seconds(lambda: kernels.linear(many, next(turns)), rounds)
    flops = 2 * 512 * first.rows * first.columns
    return [
        Measurement(
            name="1 row",
            value=size / decode / 1e9,
            unit="GB/s",
            limit=bandwidth,
            kind="ceiling",
            note=f"{decode * 1e6:.0f} us",
        ),
        Measurement(
            name="512 rows",
            value=flops / prefill / 1e9,
            unit="GFLOP/s",
            limit=arithmetic,
            kind="ceiling",
            note=f"{prefill * 1e3:.1f} ms",
        ),
    ]


def attention_rows(kernels: Kernels, bandwidth: float, rounds: int) -> list[Measurement]:
    """Measure one row over a 4K context, in several layers' worth of keys and values."""
    pairs = [
        tuple(torch.randn(CONTEXT, KV_HEADS, HEAD_DIM).to(kernels.dtype) for _ in range(2)) for _ in range(28)
    ]
    turns = cycle(pairs)
    query = torch.randn(1, HEADS, HEAD_DIM).to(kernels.dtype)
    seconds = median_seconds(lambda: kernels.attention(query, *next(turns), HEAD_DIM**-0.5), 2 * len(pairs))
    many = torch.randn(512, HEADS, HEAD_DIM).to(kernels.dtype)
    chunk = median_seconds(lambda: kernels.attention(many, *next(turns), HEAD_DIM**-0.5), rounds)
    size = sum(tensor.nbytes for tensor in pairs[0])
    return [
        Measurement(
            name=f"attention, 1 row over {CONTEXT}",
            value=size / seconds / 1e9,
            unit="GB/s",
            limit=bandwidth,
            kind="ceiling",
            note=f"{seconds * 1e6:.0f} us",
        ),
        Measurement(
            name=f"attention, 512 rows over {CONTEXT}",
            value=chunk * 1e3,
            unit="ms",
            note=f"{4 * 512 * CONTEXT * HEADS * HEAD_DIM / chunk / 1e9:.0f} GFLOP/s",
        ),
    ]


def elementwise_rows(kernels: Kernels, rounds: int) -> list[Measurement]:
    """Measure what runs beside the products, for one row: it is bound by the cost of a call."""
    hidden, gate = torch.randn(1, HIDDEN), torch.randn(1, INTERMEDIATE).to(kernels.dtype)
    weight = torch.rand(HIDDEN)
    calls = {
        "rms_norm, 1 row": partial(kernels.rms_norm, hidden, weight, 1e-6),
        "silu_and_mul, 1 row": lambda: kernels.silu_and_mul(gate.clone(), gate),
    }
    return [
        Measurement(name=name, value=median_seconds(call, 20 * rounds) * 1e6, unit="us")
        for name, call in calls.items()
    ]


if __name__ == "__main__":
    main()
