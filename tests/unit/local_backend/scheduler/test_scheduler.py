"""The scheduler's promises, one by one; random use is in tests/property."""

from __future__ import annotations

from itertools import count

import pytest

from local_backend.cache.block_manager import BlockManager
from local_backend.errors import OutOfBlocksError
from local_backend.sampling_params import SamplingParams
from local_backend.scheduler.batch import ScheduledBatch
from local_backend.scheduler.scheduler import Scheduler
from local_backend.sequence import Sequence, SequenceStatus

IDS = count()


def scheduler(num_blocks: int = 20, max_num_seqs: int = 4, budget: int = 8) -> Scheduler:
    return Scheduler(BlockManager(num_blocks, 4), max_num_seqs, budget)


def add(scheduler: Scheduler, length: int) -> Sequence:
    seq_id = next(IDS)
    seq = Sequence(
        seq_id=seq_id, token_ids=[seq_id] * length, num_prompt_tokens=length, params=SamplingParams()
    )
    scheduler.add(seq)
    return seq


def step(scheduler: Scheduler) -> ScheduledBatch:
    """Schedule and commit; sequences that sample get a token."""
    batch = scheduler.schedule()
    sampling = [item.seq for item in batch.items if item.samples]
    scheduler.commit(batch)
    for seq in sampling:
        seq.token_ids.append(seq.seq_id)
    return batch


def counts(batch: ScheduledBatch) -> list[int]:
    return [item.num_scheduled_tokens for item in batch.items]


def test_long_prompts_are_prefilled_in_chunks_of_the_budget() -> None:
    s = scheduler()
    add(s, 19)
    assert [counts(step(s)) for _ in range(4)] == [[8], [8], [3], [1]]


def test_running_answers_go_before_prompts() -> None:
    s = scheduler()
    prompt, answer = add(s, 30), add(s, 1)
    s.waiting.rotate()  # the answer is older now, and then the prompt again
    step(s)
    s.running.reverse()
    batch = step(s)
    assert [item.seq for item in batch.items] == [answer, prompt]
    assert counts(batch) == [1, 7]


def test_what_the_budget_leaves_goes_to_the_next_prompt() -> None:
    s = scheduler()
    for length in (3, 3, 3):
        add(s, length)
    assert counts(step(s)) == [3, 3, 2]
    assert counts(step(s)) == [1, 1, 1]


def test_no_more_sequences_than_allowed() -> None:
    s = scheduler(max_num_seqs=2)
    for _ in range(3):
        add(s, 2)
    assert counts(step(s)) == [2, 2]
    assert len(s.waiting) == 1


def test_the_youngest_gives_way_and_comes_back() -> None:
    s = scheduler(num_blocks=4, budget=16)
    first, second = add(s, 8), add(s, 8)
    step(s)
    batch = step(s)
    assert [item.seq for item in batch.items] == [first]
    assert second.status is SequenceStatus.WAITING
    assert second.block_table == []
    assert s.num_preemptions == 1
    s.finish(first, "length")
    assert [item.seq for item in step(s).items] == [second]
    assert second.num_cached_tokens == 0, "what counts as cached is decided at the first admission"


def test_a_sequence_that_does_not_fit_alone_is_an_error() -> None:
    s = scheduler(num_blocks=2, budget=16)
    seq = add(s, 9)
    with pytest.raises(OutOfBlocksError):
        s.schedule()
    assert s.oldest is seq
    s.finish(s.oldest, "cancelled")
    assert s.idle
    s.blocks.check_integrity()


def test_a_sequence_that_outgrows_the_pool_is_an_error() -> None:
    s = scheduler(num_blocks=2)
    seq = add(s, 8)
    step(s)
    with pytest.raises(OutOfBlocksError):
        s.schedule()
    assert s.oldest is seq


def test_finish_is_idempotent() -> None:
    s = scheduler()
    seq = add(s, 3)
    s.finish(seq, "cancelled")
    s.finish(seq, "length")
    assert seq.finish_reason == "cancelled"
