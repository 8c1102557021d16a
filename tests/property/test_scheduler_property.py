"""Random arrivals, cancels and pool sizes against the scheduler: all finish once, none starves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from local_backend.cache.block_manager import BlockManager
from local_backend.sampling_params import SamplingParams
from local_backend.scheduler.batch import ScheduledBatch
from local_backend.scheduler.scheduler import Scheduler
from local_backend.sequence import Sequence, SequenceStatus

BLOCK_SIZE, MAX_MODEL_LEN = 4, 24


@dataclass(frozen=True)
class Arrival:
    """One request: when it comes, how long it is, when (if ever) it is cancelled."""

    at: int
    prompt: tuple[int, ...]
    max_tokens: int
    cancel_at: int | None


arrivals = st.builds(
    Arrival,
    at=st.integers(0, 15),
    prompt=st.lists(st.integers(0, 1), min_size=1, max_size=16).map(tuple),
    max_tokens=st.integers(1, 8),
    cancel_at=st.none() | st.integers(0, 25),
)


class Simulation:
    """The engine's loop without a model: every sampling sequence gets a token that its text decides."""

    def __init__(self, requests: list[Arrival], num_blocks: int, max_num_seqs: int, budget: int) -> None:
        self.scheduler = Scheduler(BlockManager(num_blocks, BLOCK_SIZE), max_num_seqs, budget)
        self.requests = requests
        self.sequences = [
            Sequence(
                seq_id=i,
                token_ids=list(request.prompt),
                num_prompt_tokens=len(request.prompt),
                params=SamplingParams(max_tokens=request.max_tokens),
            )
            for i, request in enumerate(requests)
        ]
        self.finished: Counter[int] = Counter()

    def run(self) -> None:
        step = 0
        while step < 30 or not self.scheduler.idle:
            assert step < 3_000, "no progress"
            for request, seq in zip(self.requests, self.sequences, strict=True):
                if request.at == step:
                    self.scheduler.add(seq)
                if request.cancel_at is not None and max(request.cancel_at, request.at) == step:
                    self.finish(seq, "cancelled")
            if not self.scheduler.idle:
                self.step()
            step += 1

    def step(self) -> None:
        oldest = self.scheduler.oldest
        running = list(self.scheduler.running)
        decoding = [seq for seq in running if seq.num_uncomputed_tokens == 1]
        batch = self.scheduler.schedule()
        self.check(batch)
        assert oldest in [item.seq for item in batch.items], "the oldest request has to move"
        still_decoding = [seq for seq in decoding if seq.status is SequenceStatus.RUNNING]
        assert {seq.seq_id for seq in still_decoding} <= {item.seq.seq_id for item in batch.items}
        sampling = [item.seq for item in batch.items if item.samples]
        self.scheduler.commit(batch)
        for seq in sampling:
            assert seq.num_uncomputed_tokens == 0
            seq.token_ids.append(sum(seq.token_ids) % 2)
            if seq.num_generated_tokens >= seq.params.max_tokens or len(seq) >= MAX_MODEL_LEN:
                self.finish(seq, "length")
        self.scheduler.blocks.check_integrity()

    def check(self, batch: ScheduledBatch) -> None:
        scheduler = self.scheduler
        assert 0 < batch.num_tokens <= scheduler.max_num_batched_tokens
        assert len(batch.items) <= scheduler.max_num_seqs
        assert len(scheduler.running) <= scheduler.max_num_seqs
        assert max(Counter(item.seq.seq_id for item in batch.items).values()) == 1
        for item in batch.items:
            end = item.seq.num_computed_tokens + item.num_scheduled_tokens
            assert item.num_scheduled_tokens > 0
            assert end <= len(item.seq)
            assert end <= len(item.seq.block_table) * BLOCK_SIZE, "no room for what is scheduled"

    def finish(self, seq: Sequence, reason: str) -> None:
        if seq.status is not SequenceStatus.FINISHED:
            self.finished[seq.seq_id] += 1
        self.scheduler.finish(seq, reason)


@settings(max_examples=150, deadline=None)
@given(
    requests=st.lists(arrivals, min_size=1, max_size=10),
    num_blocks=st.integers(MAX_MODEL_LEN // BLOCK_SIZE, 14),
    max_num_seqs=st.integers(1, 5),
    extra_budget=st.integers(0, 12),
)
def test_every_request_finishes_once(
    requests: list[Arrival], num_blocks: int, max_num_seqs: int, extra_budget: int
) -> None:
    simulation = Simulation(requests, num_blocks, max_num_seqs, max_num_seqs + extra_budget)
    simulation.run()
    assert simulation.finished == Counter(range(len(requests)))
    assert simulation.scheduler.blocks.num_available == num_blocks
    for request, seq in zip(requests, simulation.sequences, strict=True):
        assert seq.finish_reason in ("length", "cancelled")
        assert seq.finish_reason == "length" or request.cancel_at is not None
        assert (seq.num_cached_tokens or 0) < max(len(request.prompt), 1)


def test_small_pools_do_preempt() -> None:
    """Guards the property above against a set-up that never preempts."""
    requests = [Arrival(0, (i % 2,) * 12, 8, None) for i in range(4)]
    simulation = Simulation(requests, num_blocks=7, max_num_seqs=4, budget=16)
    simulation.run()
    assert simulation.scheduler.num_preemptions > 0
