"""The engine proper: schedule, run, sample, commit. Single-threaded; engine/worker.py gives it a thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import accumulate, count

from local_backend.architecture import ModelConfig
from local_backend.cache.block_manager import BlockManager
from local_backend.cache.pool import allocate_pool
from local_backend.cache.prefix_tier import PrefixTier
from local_backend.cache.tiered_prefixes import TieredPrefixes
from local_backend.cache.tiled_latents import TiledLatentPool
from local_backend.config import EngineConfig
from local_backend.engine.gate_statistics import GateStatistics
from local_backend.engine.model_runner import ModelRunner
from local_backend.engine.mtp_drafter import ComputedRows, MTPDrafter
from local_backend.engine.prefill_pace import PrefillPace
from local_backend.engine.sampler import SampledToken, Sampler
from local_backend.engine.sampling import Floats
from local_backend.engine.speculator import SpeculationStatistics, Speculator
from local_backend.errors import ConfigError, OutOfBlocksError, RequestError, RequestTooLongError
from local_backend.kernels.native import NativeKernels
from local_backend.models.decoder import Decoder, ForwardAbortedError
from local_backend.sampling_params import SamplingParams
from local_backend.scheduler.batch import ScheduledBatch, ScheduledSequence
from local_backend.scheduler.scheduler import Scheduler
from local_backend.sequence import FinishReason, Sequence, SequenceOutput, TokenConstraint

__all__ = ["Engine", "StepOutput", "batched_tokens"]

BATCHED_TOKENS = 512
MOE_BATCHED_TOKENS = 2048  # of 64 experts, six each: 192 rows per expert, enough for a dense product
ROUNDED = ("int8", "int6")  # what a rotated cache makes better
StepOutput = tuple[Sequence, SequenceOutput | Exception]


class Engine:
    """Continuous batching over one model.

    Raises:
        ConfigError: The cache does not hold the context, or a way to guess is asked for that the model lacks.
    """

    def __init__(self, model: Decoder, config: EngineConfig) -> None:
        self.config = config
        model = _with_wanted_mtp(model, config)
        self.pool = allocate_pool(
            model.config,
            config,
            model.kernels.dtype,
            model.kernels.device,
            tiled=isinstance(model.kernels, NativeKernels),
        )
        if config.cache_dtype in ROUNDED or isinstance(self.pool, TiledLatentPool):
            model = model.with_rotated_latents()
        self.blocks = BlockManager(self.pool.num_blocks, config.block_size)
        self.scheduler = Scheduler(self.blocks, config.num_seqs, batched_tokens(model.config, config))
        self.vocab_size = model.config.vocab_size
        self._model_config = model.config
        self._runner = ModelRunner(model.with_native_layers(self.pool), self.pool)
        self._sampler = Sampler()
        drafter = None if model.mtp is None else MTPDrafter(self._runner)
        self._speculator = Speculator(config.speculation, self.max_model_len, drafter)
        self._pace = PrefillPace(config.max_step_seconds, self.scheduler.max_num_batched_tokens)
        self._ids = count()

    @property
    def max_model_len(self) -> int:
        """Context in tokens."""
        return self.pool.max_model_len

    def keep_prefixes(self, tier: PrefixTier) -> None:
        """Give the prefix cache a slower tier, before the first step; it is closed with the engine."""
        self.scheduler.prefixes = TieredPrefixes(self.blocks, tier)

    def close(self) -> None:
        """Let the prefix cache finish what it writes; idempotent."""
        if self.scheduler.prefixes is not None:
            self.scheduler.prefixes.tier.close()

    def gate_statistics(self) -> GateStatistics | None:
        """Return how evenly the experts have been used so far; None for a model without experts."""
        counts = self._runner.expert_counts
        if counts is None:
            return None
        layers = range(self._model_config.num_hidden_layers)
        return GateStatistics.from_counts(counts, [i for i in layers if self._model_config.is_moe_layer(i)])

    def speculation_statistics(self) -> SpeculationStatistics:
        """Return how many tokens have been guessed so far, and how many of them came true."""
        return self._speculator.statistics

    def new_sequence(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        cache_salt: str = "",
        constraint: TokenConstraint | None = None,
    ) -> Sequence:
        """Check a request and give it an id; thread-safe, changes nothing.

        Raises:
            RequestTooLongError: The prompt leaves no room for a token.
            RequestError: The prompt is empty or has ids outside the vocabulary.
        """
        length = len(prompt_token_ids)
        if length >= self.max_model_len:
            raise RequestTooLongError(
                f"the prompt has {length} tokens, the context is {self.max_model_len}",
                help_message="Shorten the prompt, or raise EngineConfig.max_model_len.",
            )
        if not prompt_token_ids or not 0 <= min(prompt_token_ids) <= max(prompt_token_ids) < self.vocab_size:
            raise RequestError(
                f"the prompt is empty or has token ids outside [0, {self.vocab_size})",
                help_message="Encode the prompt with this model's tokenizer.",
            )
        return Sequence(
            seq_id=next(self._ids),
            token_ids=list(prompt_token_ids),
            num_prompt_tokens=length,
            params=params,
            cache_salt=cache_salt,
            constraint=constraint,
        )

    def add(self, seq: Sequence) -> None:
        """Queue a checked sequence."""
        self.scheduler.add(seq)

    def cancel(self, seq: Sequence) -> None:
        """End a sequence and free its blocks at once; idempotent."""
        self._finish(seq, "cancelled")

    def step(self, aborted: Callable[[], bool] = lambda: False) -> list[StepOutput]:
        """Run one batch; returns what happened to each sequence that got a token, ended or failed.

        Args:
            aborted: Polled between layers; when it turns true the step is dropped and can be run again.
        """
        try:
            self._speculator.draft(self.scheduler.running)
            batch = self.scheduler.schedule(self._pace.tokens)
        except OutOfBlocksError as error:
            return [self._fail(self.scheduler.oldest, error)]
        if not batch.items:
            return []
        try:
            started = time.perf_counter()
            computed = self._runner.run(batch, aborted)
        except ForwardAbortedError:
            return []
        logits, samples = computed.logits.numpy(), [item.samples for item in batch.items]
        parts = _parts(batch)
        self.scheduler.commit(batch)
        outputs: list[StepOutput] = []
        first = 0
        for item, num_rows in zip(batch.items, samples, strict=True):
            outputs += self._advance(item, logits[first : first + num_rows])
            first += num_rows
        seconds = time.perf_counter() - started
        self._pace.record(batch.num_tokens, seconds)
        self._speculator.record(batch, len(outputs) - sum(map(bool, samples)), seconds)
        self._speculator.follow(parts, computed.hidden)
        return outputs

    def _advance(self, item: ScheduledSequence, logits: Floats) -> list[StepOutput]:
        """Sample row after row, as long as what was sampled is what the next row was computed for."""
        outputs: list[StepOutput] = []
        for row, drafted in zip(logits, (*item.draft_token_ids, None), strict=False):
            try:
                sampled = self._sampler.sample(item.seq, row)
            except RequestError as error:  # a constraint that no token satisfies
                return [*outputs, self._fail(item.seq, error)]
            output = self._append(item.seq, sampled)
            outputs.append((item.seq, output))
            if output.finish_reason is not None or sampled.token_id != drafted:
                break
            self.scheduler.accept_draft(item.seq)
        self._speculator.learn(item.seq, len(outputs))
        return outputs

    def _append(self, seq: Sequence, sampled: SampledToken) -> SequenceOutput:
        stopped = sampled.token_id in seq.params.stop_token_ids
        if not stopped:
            seq.token_ids.append(sampled.token_id)
        reason = self._finish_reason(seq, stopped=stopped)
        if reason is not None:
            self._finish(seq, reason)
        return SequenceOutput(
            token_id=None if stopped else sampled.token_id,
            finish_reason=reason,
            num_prompt_tokens=seq.num_prompt_tokens,
            num_cached_tokens=seq.num_cached_tokens or 0,
            logprob=None if stopped else sampled.logprob,
        )

    def _finish_reason(self, seq: Sequence, *, stopped: bool) -> FinishReason | None:
        if stopped or (seq.constraint is not None and seq.constraint.finished):
            return "stop"
        full = seq.num_generated_tokens >= seq.params.max_tokens or len(seq) >= self.max_model_len
        return "length" if full else None

    def _finish(self, seq: Sequence, reason: FinishReason) -> None:
        self.scheduler.finish(seq, reason)
        self._sampler.forget(seq)
        self._speculator.forget(seq)

    def _fail(self, seq: Sequence, error: Exception) -> StepOutput:
        self.cancel(seq)
        return seq, error


def batched_tokens(model: ModelConfig, config: EngineConfig) -> int:
    """Most tokens of one forward pass."""
    default = BATCHED_TOKENS if model.moe is None else MOE_BATCHED_TOKENS
    return config.max_num_batched_tokens or max(default, config.num_seqs)


def _with_wanted_mtp(model: Decoder, config: EngineConfig) -> Decoder:
    """Drop a prediction module that is not to be used."""
    if not config.uses_mtp:
        return model.without_mtp()
    if model.mtp is None and config.speculation == "mtp":
        raise ConfigError(
            'speculation="mtp", but the checkpoint has no multi-token prediction module',
            help_message='Use speculation="auto", which takes one where there is one.',
        )
    return model


def _parts(batch: ScheduledBatch) -> list[ComputedRows]:
    """Where a batch's sequences stand before it is committed, and in its rows."""
    firsts = accumulate((item.num_scheduled_tokens for item in batch.items), initial=0)
    return [
        ComputedRows(
            item.seq,
            list(item.seq.block_table),
            item.seq.num_computed_tokens,
            first,
            item.num_scheduled_tokens,
        )
        for item, first in zip(batch.items, firsts, strict=False)
    ]
