"""The native calls that do more than one product, at the shapes of V2-Lite and the starter, for kernels.py.

One row is bound by what it reads, except in latent attention: there each of 16 heads multiplies with every
latent, so that its arithmetic counts. Weights and caches are those of several layers, taken in turns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle

import torch
from report import Measurement
from timing import median_seconds
from torch import Tensor

from local_backend.architecture import MoEConfig
from local_backend.kernels.base import GROUP_SIZE, PackedWeight, QuantizedTensor
from local_backend.kernels.native import NativeKernels
from local_backend.kernels.native_batch import BlockTable, NativeBatch
from local_backend.kernels.native_key_values import NativeKeyValues
from local_backend.kernels.native_latents import NativeExpansion, NativeLatents
from local_backend.layers.linear import Linear, StackedLinear
from local_backend.models.gate import Gate
from local_backend.models.mlp import MLP
from local_backend.models.moe import DeepSeekMoE
from local_backend.models.native_blocks import native_feed_forward

HIDDEN, EXPERT, EXPERTS, PER_TOKEN, SHARED = 2048, 1408, 64, 6, 2
LATENT, ROTARY, NOPE, VALUE, HEADS = 512, 64, 128, 128, 16
QUERY_HEADS, KV_HEADS, HEAD_DIM = 12, 2, 128
CONTEXT, CHUNK, TILE = 8192, 512, 16
LAYERS = 12


class NoCounts:
    """All that a feed-forward call reads of a ForwardContext."""

    expert_counts = None


def native_rows(
    kernels: NativeKernels, bandwidth: float, arithmetic: float, rounds: int
) -> list[Measurement]:
    """Measure experts, latent attention in both forms, and grouped-query attention.

    Args:
        kernels: The kernels.
        bandwidth: Ceiling in GB/s.
        arithmetic: Ceiling in 10^9 operations a second.
        rounds: Timings per number.
    """
    return [
        *expert_rows(kernels, bandwidth, arithmetic, rounds),
        *latent_rows(kernels, arithmetic, rounds),
        *grouped_rows(kernels, bandwidth, arithmetic, rounds),
        *elementwise(kernels, rounds),
    ]


def expert_rows(
    kernels: NativeKernels, bandwidth: float, arithmetic: float, rounds: int
) -> list[Measurement]:
    """Norm, gate, active and shared experts and their sum, int4."""
    layers = [mixture(kernels) for _ in range(2)]
    norm = torch.ones(HIDDEN)
    calls = [native_feed_forward(layer, norm, 1e-6, kernels) for layer in layers]
    turns = cycle(calls)

    def run(num_tokens: int) -> None:
        next(turns)(torch.randn(num_tokens, HIDDEN), NoCounts())  # other tokens, other experts

    one, many = median_seconds(partial(run, 1), 10 * rounds), median_seconds(partial(run, CHUNK), rounds)
    expert = sum(map(weight_bytes, weights_of(layers[0].experts[0])))
    numbers = (PER_TOKEN + SHARED) * 3 * HIDDEN * EXPERT
    return [
        at_ceiling("experts int4, 1 row", (PER_TOKEN + SHARED) * expert / one / 1e9, "GB/s", bandwidth, one),
        at_ceiling(
            f"experts int4, {CHUNK} rows", 2 * CHUNK * numbers / many / 1e9, "GFLOP/s", arithmetic, many
        ),
    ]


def mixture(kernels: NativeKernels) -> DeepSeekMoE:
    """V2-Lite's experts of one layer, random."""
    moe = MoEConfig(
        n_routed_experts=EXPERTS,
        num_experts_per_tok=PER_TOKEN,
        moe_intermediate_size=EXPERT,
        n_shared_experts=SHARED,
    )
    gate = Gate(moe, torch.randn(EXPERTS, HIDDEN), None, scale_normalised=False)
    experts = tuple(mlp(kernels, EXPERT) for _ in range(EXPERTS))
    return DeepSeekMoE(gate, experts, mlp(kernels, SHARED * EXPERT), 0)


def mlp(kernels: NativeKernels, width: int) -> MLP:
    """A SwiGLU block of random codes."""
    gate_up, down = (random_int4(kernels, *shape) for shape in ((2 * width, HIDDEN), (HIDDEN, width)))
    stacked = StackedLinear((Linear(gate_up, None, kernels),), ((width, width),))
    return MLP(stacked, Linear(down, None, kernels), kernels)


def random_int4(kernels: NativeKernels, rows: int, columns: int) -> PackedWeight:
    """A matrix of 4.5 bits a weight, as Q4_0."""
    codes = torch.randint(0, 16, (rows, columns), dtype=torch.uint8)
    return kernels.pack(QuantizedTensor(codes, torch.rand(rows, columns // GROUP_SIZE) * 0.01 + 0.001))


def weights_of(block: MLP) -> list[PackedWeight]:
    """Both matrices of a block."""
    return [block.gate_up_proj.groups[0].weight, block.down_proj.weight]


def weight_bytes(weight: PackedWeight) -> int:
    """What a product reads."""
    return sum(tensor.nbytes for tensor in weight.tensors.values())


def latent_rows(kernels: NativeKernels, arithmetic: float, rounds: int) -> list[Measurement]:
    """Attention to int8 latents: absorbed for one row, expanded for a chunk."""
    tiles = torch.randint(256, (CONTEXT // TILE, TILE * (LATENT + ROTARY + 8)), dtype=torch.uint8)
    layers = [NativeLatents(kernels, tiles.clone(), LATENT, ROTARY, TILE) for _ in range(LAYERS)]
    for layer in layers:
        layer.write(torch.arange(CONTEXT), torch.randn(CONTEXT, LATENT), torch.randn(CONTEXT, ROTARY))
    turns = cycle(layers)
    scale = (NOPE + ROTARY) ** -0.5
    query, batch = torch.randn(1, HEADS, LATENT + ROTARY), batch_of(1)
    absorbed = median_seconds(lambda: next(turns).attend(query, batch, scale), rounds * LAYERS // 4)
    many, chunk = torch.randn(CHUNK, HEADS, NOPE + ROTARY), batch_of(CHUNK)
    key_up, value_up = (torch.randn(HEADS, size, LATENT) * LATENT**-0.5 for size in (NOPE, VALUE))
    up = NativeExpansion(key_up, value_up)
    expanded = median_seconds(
        lambda: next(turns).attend_expanded(many, chunk, up, scale), max(3, rounds // 3)
    )
    seen = CHUNK * CONTEXT - CHUNK * (CHUNK - 1) // 2  # pairs of a row and a position
    products = seen * (NOPE + ROTARY + VALUE) + CONTEXT * (NOPE + VALUE) * LATENT
    return [
        at_ceiling(
            f"latent attention, 1 row over {CONTEXT}",
            2 * CONTEXT * HEADS * (2 * LATENT + ROTARY) / absorbed / 1e9,
            "GFLOP/s",
            arithmetic,
            absorbed,
        ),
        at_ceiling(
            f"latent attention, {CHUNK} rows over {CONTEXT}",
            2 * HEADS * products / expanded / 1e9,
            "GFLOP/s",
            arithmetic,
            expanded,
        ),
    ]


def grouped_rows(
    kernels: NativeKernels, bandwidth: float, arithmetic: float, rounds: int
) -> list[Measurement]:
    """Attention to bfloat16 keys and values in tiles; sums of many rows are float32."""
    shape = (CONTEXT // TILE, KV_HEADS, 2, TILE * HEAD_DIM)
    layers = [
        NativeKeyValues(kernels, torch.randn(shape).bfloat16(), HEAD_DIM, TILE) for _ in range(2 * LAYERS)
    ]
    turns, scale = cycle(layers), HEAD_DIM**-0.5

    def attend(query: Tensor, batch: NativeBatch) -> Callable[[], Tensor]:
        return lambda: next(turns).attend(query, batch, scale)

    one = median_seconds(attend(torch.randn(1, QUERY_HEADS, HEAD_DIM), batch_of(1)), 4 * rounds)
    many = median_seconds(
        attend(torch.randn(CHUNK, QUERY_HEADS, HEAD_DIM), batch_of(CHUNK)), max(3, rounds // 3)
    )
    seen = CHUNK * CONTEXT - CHUNK * (CHUNK - 1) // 2
    read = 2 * CONTEXT * KV_HEADS * HEAD_DIM * 2
    return [
        at_ceiling(f"grouped-query tiles, 1 row over {CONTEXT}", read / one / 1e9, "GB/s", bandwidth, one),
        at_ceiling(
            f"grouped-query tiles, {CHUNK} rows over {CONTEXT}",
            4 * seen * QUERY_HEADS * HEAD_DIM / many / 1e9,
            "GFLOP/s",
            arithmetic,
            many,
        ),
    ]


def elementwise(kernels: NativeKernels, rounds: int) -> list[Measurement]:
    """What layers do between products, for one row: bound by the cost of a call."""
    functions, handle = kernels.functions, kernels.handle
    x, weight, gate = torch.randn(1, HIDDEN), torch.rand(HIDDEN), torch.randn(EXPERT)
    turns = torch.polar(torch.ones(ROTARY // 2), torch.rand(ROTARY // 2))
    heads = torch.randn(HEADS, ROTARY)
    calls = {
        "native norm, 1 row": lambda: functions.deepseek_rms_norm(
            handle, x.data_ptr(), 1, HIDDEN, weight.data_ptr(), 1e-6, x.data_ptr()
        ),
        "native turn, 1 row": lambda: functions.deepseek_rotate(
            handle, heads.data_ptr(), 1, heads.numel(), HEADS, ROTARY, turns.data_ptr(), ROTARY // 2
        ),
        "native silu x up, 1 row": lambda: functions.deepseek_silu_multiply(
            handle, gate.data_ptr(), gate.data_ptr(), EXPERT, gate.data_ptr()
        ),
    }
    return [
        Measurement(name=name, value=median_seconds(call, 50 * rounds) * 1e6, unit="us")
        for name, call in calls.items()
    ]


def batch_of(num_rows: int) -> NativeBatch:
    """The last rows of one sequence whose blocks follow one another."""
    table = BlockTable(list(range(CONTEXT // TILE)), num_rows, CONTEXT)
    return NativeBatch(torch.empty(0), torch.empty(0, dtype=torch.int64), [table])


def at_ceiling(name: str, value: float, unit: str, ceiling: float, seconds: float) -> Measurement:
    """One rate beside what the machine does at most."""
    note = f"{seconds * 1e3:.2f} ms"
    return Measurement(name=name, value=value, unit=unit, limit=ceiling, kind="ceiling", note=note)
