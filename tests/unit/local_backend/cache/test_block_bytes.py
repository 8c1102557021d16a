"""Blocks leave a pool as bytes and come back: whole, in part, and to other places."""

from __future__ import annotations

import pytest
import torch

from local_backend.cache.block_bytes import BlockBytes

TENSORS = [
    torch.arange(24, dtype=torch.float32).view(12, 2),
    torch.arange(36, dtype=torch.int16).view(6, 2, 3).to(torch.bfloat16),
]


def empty() -> list[torch.Tensor]:
    return [torch.zeros_like(tensor) for tensor in TENSORS]


def test_a_block_is_its_rows_of_every_tensor() -> None:
    blocks = BlockBytes.of(TENSORS, 6)
    assert blocks.block_bytes == 2 * 2 * 4 + 2 * 3 * 2
    assert blocks.read([1]) == bytes(
        TENSORS[0][2:4].contiguous().view(torch.uint8).flatten().tolist()
    ) + bytes(TENSORS[1][1:2].contiguous().view(torch.uint8).flatten().tolist())


@pytest.mark.parametrize("block_ids", [[0, 1, 2], [5, 0, 1], [4, 2, 0], [3]])
def test_bytes_come_back_where_they_are_put(block_ids: list[int]) -> None:
    targets = empty()
    data = BlockBytes.of(TENSORS, 6).read(block_ids)
    BlockBytes.of(targets, 6).write(list(range(len(block_ids))), data)
    for target, source in zip(targets, TENSORS, strict=True):
        per_block = len(source) // 6
        rows = [
            row for block_id in block_ids for row in range(block_id * per_block, (block_id + 1) * per_block)
        ]
        assert target[: len(rows)].equal(source[rows])
        assert not target[len(rows) :].any()


def test_the_last_blocks_can_be_put_back_alone() -> None:
    targets = empty()
    BlockBytes.of(targets, 6).write([5, 1], BlockBytes.of(TENSORS, 6).read([1, 2, 3]))
    assert targets[1][5].equal(TENSORS[1][2])
    assert targets[1][1].equal(TENSORS[1][3])
    assert not targets[1][[0, 2, 3, 4]].any()
