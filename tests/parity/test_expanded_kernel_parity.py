"""Native expanded attention against torch's in float32, for each usable instruction set."""

from __future__ import annotations

import pytest
import torch
from test_latent_kernel_parity import ISAS, LIBRARY, Latents, kernels_of

from local_backend.kernels.native_batch import NativeBatch
from local_backend.kernels.native_latents import NativeExpansion
from local_backend.layers.latent_attention import expanded_attention

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the native kernels are not built")
ROUNDING = 0.05  # keys, values, queries, weights and the maps are rounded to 8 bits each


def largest_error(
    isa: str, shapes: list[tuple[int, int]], sizes: tuple[int, int, int], num_heads: int
) -> float:
    """Largest relative error of a row and head.

    Args:
        isa: Instruction set.
        shapes: (num_rows, context_len) of each sequence.
        sizes: kv_lora_rank, qk_nope_head_dim, v_head_dim.
        num_heads: Of the queries.
    """
    (rank, nope, value), rope = sizes, 16
    scale = (nope + 9 * rope) ** -0.5
    latents = Latents(kernels_of(isa), rank, rope, sum(length // 16 + 1 for _, length in shapes))
    written = [latents.sequence(*shape) for shape in shapes]
    k_up, v_up = (torch.randn(num_heads, size, rank) * rank**-0.5 for size in (nope, value))
    queries = [torch.randn(num_rows, num_heads, nope + rope) for num_rows, _ in shapes]
    batch = NativeBatch(torch.empty(0), torch.empty(0, dtype=torch.int64), [table for table, _ in written])
    got = latents.native.attend_expanded(torch.cat(queries), batch, NativeExpansion(k_up, v_up), scale)
    want = torch.cat(
        [
            expanded_attention(query, latents.pool.read(0, slots), k_up, v_up, scale)
            for query, (_, slots) in zip(queries, written, strict=True)
        ]
    )
    return float(((got - want).norm(dim=-1) / want.norm(dim=-1)).max())


@ISAS
@pytest.mark.parametrize("num_rows", [1, 15, 16, 17, 33, 100, 257])
def test_a_prompt_attends_to_itself(isa: str, num_rows: int) -> None:
    assert largest_error(isa, [(num_rows, num_rows)], (32, 16, 16), 2) < ROUNDING


@ISAS
def test_new_rows_of_several_sequences_see_what_is_cached(isa: str) -> None:
    assert largest_error(isa, [(40, 300), (1, 17), (9, 9), (70, 600)], (64, 32, 32), 3) < ROUNDING


@ISAS
@pytest.mark.parametrize(("nope", "value"), [(16, 24), (48, 40), (32, 7)])
def test_sizes_of_heads(isa: str, nope: int, value: int) -> None:
    assert largest_error(isa, [(20, 50)], (32, nope, value), 4) < ROUNDING


def test_absorbed_and_expanded_agree() -> None:
    latents = Latents(kernels_of("portable"), 64, 16, 20)
    table, _ = latents.sequence(30, 300)
    k_up, v_up = torch.randn(4, 32, 64) / 8, torch.randn(4, 16, 64) / 8
    q_nope, q_pe = torch.randn(30, 4, 32), torch.randn(30, 4, 16)
    batch = NativeBatch(torch.empty(0), torch.empty(0, dtype=torch.int64), [table])
    expanded = latents.native.attend_expanded(
        torch.cat((q_nope, q_pe), dim=-1), batch, NativeExpansion(k_up, v_up), 0.1
    )
    mapped = torch.cat((torch.einsum("nhd,hdr->nhr", q_nope, k_up), q_pe), dim=-1)
    absorbed = torch.einsum("nhr,hdr->nhd", latents.native.attend(mapped, batch, 0.1), v_up)
    assert ((expanded - absorbed).norm() / absorbed.norm()).item() < ROUNDING
