"""One engine thread, many callers: requests go in by queue, tokens come out by one queue per request."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from queue import SimpleQueue

from local_backend.engine.engine import Engine
from local_backend.engine.gate_statistics import GateStatistics
from local_backend.errors import EngineStoppedError
from local_backend.sampling_params import SamplingParams
from local_backend.sequence import Sequence, SequenceOutput, TokenConstraint

__all__ = ["EngineWorker", "WorkerGeneration"]

_Item = SequenceOutput | BaseException


class WorkerGeneration:
    """A running request; iterate it from one thread, cancel it from any."""

    def __init__(self, worker: EngineWorker, seq: Sequence) -> None:
        self._worker = worker
        self.seq = seq
        self.queue: SimpleQueue[_Item] = SimpleQueue()
        self.cancelled = threading.Event()
        self._ended = False

    def __iter__(self) -> Iterator[SequenceOutput]:
        """Yield outputs until one has a finish_reason; nothing once that has been read.

        Raises:
            LocalBackendError: The request failed in the engine, or the engine was closed.
        """
        while not self._ended:
            item = self.queue.get()
            self._ended = isinstance(item, BaseException) or item.finish_reason is not None
            if isinstance(item, BaseException):
                raise item
            yield item

    def cancel(self) -> None:
        """Stop and free the blocks at the next layer boundary; a blocked reader gets "cancelled"."""
        if not self.cancelled.is_set():
            self.cancelled.set()
            self._worker.request_cancel(self)


class EngineWorker:
    """Owns the engine thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._condition = threading.Condition()
        self._arrived: list[WorkerGeneration] = []
        self._cancels: list[WorkerGeneration] = []
        self._live: dict[int, WorkerGeneration] = {}
        self._closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="deepseek-engine", daemon=True)
        # A daemon thread inside torch when the interpreter goes away aborts the process.
        atexit.register(self.close)
        self._thread.start()

    @property
    def max_model_len(self) -> int:
        """Context in tokens."""
        return self._engine.max_model_len

    def gate_statistics(self) -> GateStatistics | None:
        """Return how evenly the experts have been used so far; None for a model without experts."""
        return self._engine.gate_statistics()

    def submit(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        cache_salt: str = "",
        constraint: TokenConstraint | None = None,
    ) -> WorkerGeneration:
        """Queue a request; returns at once.

        Raises:
            RequestError: The prompt cannot be run (see Engine.new_sequence).
            EngineStoppedError: The worker is closed.
        """
        seq = self._engine.new_sequence(
            prompt_token_ids, params, cache_salt=cache_salt, constraint=constraint
        )
        generation = WorkerGeneration(self, seq)
        with self._condition:
            if self._closed:
                raise self._stopped()
            self._arrived.append(generation)
            self._condition.notify()
        return generation

    def request_cancel(self, generation: WorkerGeneration) -> None:
        """Ask the engine thread to drop a request and wake its reader now."""
        generation.queue.put(_cancelled(generation.seq))
        with self._condition:
            self._cancels.append(generation)
            self._condition.notify()

    def close(self) -> None:
        """Stop the thread; running requests end with EngineStoppedError. Idempotent."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _stopped(self) -> EngineStoppedError:
        reason = f"failed: {self._failure!r}" if self._failure else "is closed"
        return EngineStoppedError(f"the engine {reason}", help_message="Load the model again.")

    def _run(self) -> None:
        try:
            while self._take_commands():
                self._deliver(self._engine.step(self._interrupted))
        except Exception as error:  # noqa: BLE001 - the thread's last line: report to every caller
            self._failure = error
        atexit.unregister(self.close)
        with self._condition:
            self._closed = True
            self._live.update({generation.seq.seq_id: generation for generation in self._arrived})
        for generation in self._live.values():
            generation.queue.put(self._stopped())
        self._engine.close()

    def _interrupted(self) -> bool:
        """Whether a pass should be dropped: closing, or everything it computes has been cancelled."""
        if self._closed:
            return True
        return bool(self._cancels) and all(
            self._live[seq.seq_id].cancelled.is_set() for seq in self._engine.scheduler.running
        )

    def _take_commands(self) -> bool:
        """Wait for work; apply arrivals and cancels. False when the worker is closing."""
        with self._condition:
            while not (self._closed or self._arrived or self._cancels or not self._engine.scheduler.idle):
                self._condition.wait()
            arrived, self._arrived = self._arrived, []
            cancels, self._cancels = self._cancels, []
            if self._closed:
                self._live.update({generation.seq.seq_id: generation for generation in arrived})
                return False
        for generation in arrived:
            self._live[generation.seq.seq_id] = generation
            self._engine.add(generation.seq)
        for generation in cancels:
            self._live.pop(generation.seq.seq_id, None)
            self._engine.cancel(generation.seq)
        return True

    def _deliver(self, outputs: list[tuple[Sequence, SequenceOutput | Exception]]) -> None:
        for seq, output in outputs:
            generation = self._live.get(seq.seq_id)
            if isinstance(output, Exception) or output.finish_reason is not None:
                self._live.pop(seq.seq_id, None)
            if generation is not None:
                generation.queue.put(output)


def _cancelled(seq: Sequence) -> SequenceOutput:
    return SequenceOutput(
        token_id=None,
        finish_reason="cancelled",
        num_prompt_tokens=seq.num_prompt_tokens,
        num_cached_tokens=seq.num_cached_tokens or 0,
    )
