"""Rows computed together are, bit for bit, those computed one at a time: exact speculation rests on it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toy_model import build_model, toy_config, toy_engine, write_folder

from local_backend.engine.engine import Engine
from local_backend.kernels.native_library import load_native
from local_backend.sampling_params import SamplingParams
from local_backend.scheduler.batch import ScheduledBatch, ScheduledSequence
from local_backend.sequence import Sequence

pytestmark = pytest.mark.skipif(load_native() is None, reason="the native kernels are not built")

PROMPT = [3 * i % 300 for i in range(40)]
FOLLOWING = [7 * i % 300 for i in range(17)]


@pytest.fixture(scope="module", params=["qwen2", "deepseek_v2", "deepseek_v2_lite", "deepseek_v3"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    scratch = tmp_path_factory.mktemp("rows")
    folder = write_folder(scratch / "toy", toy_config(request.param))
    model = build_model(folder, scratch, kernels="native", quantization="int4")
    return toy_engine(model, num_blocks=40, block_size=16)


def rows(engine: Engine, seq: Sequence, first: int, count: int) -> Tensor:
    """Logits of tokens [first, first + count) behind the prompt, computed in one pass."""
    computed = len(PROMPT) + first
    seq.token_ids = [*PROMPT, *FOLLOWING[: first + 1]]
    seq.num_computed_tokens = computed
    item = ScheduledSequence(seq, count, tuple(FOLLOWING[first + 1 : first + count]))
    return engine._runner.run(ScheduledBatch((item,)), aborted=lambda: False).logits.clone()


def test_drafts_do_not_change_any_logit(engine: Engine) -> None:
    seq = engine.new_sequence(PROMPT, SamplingParams(temperature=0))
    engine.blocks.grow(seq, 64)
    engine._runner.run(ScheduledBatch((ScheduledSequence(seq, len(PROMPT)),)), aborted=lambda: False)
    alone = torch.cat([rows(engine, seq, first, 1) for first in range(16)])
    for count in (2, 3, 4, 5, 7, 8, 12, 16):
        together = torch.cat(
            [rows(engine, seq, first, min(count, 16 - first)) for first in range(0, 16, count)]
        )
        assert torch.equal(together, alone), count
