"""Drafts by the model's own prediction module (models/mtp.py), and what the module needs for them.

The module's layer has a cache of its own, so it follows every pass: it runs all positions whose next token
is known by then, at once or, while nothing is guessed, several together. The last one's logits are a guess at
the token that the coming pass will compute; from there the module can go on from its own guesses, at places
that the next pass's tokens overwrite.

Blocks of shared prefixes hold the module's cache too. The entry of the last position of one was made with the
token that came next in the sequence that computed it, or not made if that ended there; drafts of another
sequence are a little worse for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

from local_backend.engine.model_runner import ModelRunner, SequenceRows
from local_backend.sequence import Sequence, SequenceStatus

__all__ = ["ComputedRows", "MTPDrafter"]

SAMPLES = 5  # of which the median counts
MAX_BEHIND = 32  # positions of a sequence that is not guessed, after which they are run together


@dataclass(frozen=True, slots=True)
class ComputedRows:
    """A sequence's rows in the pass that is followed.

    Attributes:
        seq: The sequence, with the tokens that the pass has added; it may have ended.
        block_table: Its blocks at the time of the pass, which nobody else has got since.
        start: Position of its first row.
        first_row, num_rows: Its rows in the pass's hidden states.
    """

    seq: Sequence
    block_table: list[int]
    start: int
    first_row: int
    num_rows: int

    @property
    def num_known(self) -> int:
        """Rows whose next token is known, which leaves out drafts that did not come true."""
        return min(self.num_rows, len(self.seq) - 1 - self.start)


@dataclass(slots=True)
class _Behind:
    """Positions of a sequence that the module has yet to run: from one to the last whose next is known."""

    seq: Sequence
    start: int
    hidden: list[Tensor] = field(default_factory=list)  # (rows, hidden_size) each, normalised

    @property
    def num_rows(self) -> int:
        return sum(map(len, self.hidden))


@dataclass(slots=True)
class _Guess:
    token_ids: list[int]
    hidden: Tensor  # (1, hidden_size) to go on from


class MTPDrafter:
    """Guesses for the sequences of one engine; not thread-safe, as the engine is not."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self._guesses: dict[int, _Guess] = {}
        self._behind: dict[int, _Behind] = {}
        self._seconds: deque[float] = deque(maxlen=SAMPLES)

    @property
    def seconds(self) -> float:
        """What a guess costs, per token guessed; 0 before the first."""
        return median(self._seconds) if self._seconds else 0.0

    def guess(self, seq: Sequence) -> list[int]:
        """Return what has been guessed to follow the sequence's tokens; empty if nothing was."""
        guess = self._guesses.get(seq.seq_id)
        return [] if guess is None else guess.token_ids

    def forget(self, seq: Sequence) -> None:
        """Drop the guess for a sequence."""
        self._guesses.pop(seq.seq_id, None)

    def follow(self, parts: list[ComputedRows], hidden: Tensor, wanted: Callable[[Sequence], bool]) -> None:
        """Take in what a pass has made known, and guess one token of each sequence that is to be guessed.

        Others are run some positions at a time, when they have ended at the latest.

        Args:
            parts: The pass's sequences, in order.
            hidden: The pass's hidden states, (num_tokens, hidden_size), before the final norm.
            wanted: Whether a sequence is to be guessed.
        """
        self._forget_cancelled(parts)
        rows: list[SequenceRows] = []
        previous: list[Tensor] = []
        guessed: list[Sequence] = []
        for part in parts:
            seq = part.seq
            self.forget(seq)
            behind = self._catch_up(part, hidden)
            running = seq.status is SequenceStatus.RUNNING
            samples = int(running and seq.num_uncomputed_tokens == 1 and wanted(seq))
            if samples or not running or behind.num_rows >= MAX_BEHIND:
                del self._behind[seq.seq_id]
                if behind.hidden:
                    stop = behind.start + behind.num_rows
                    token_ids = seq.token_ids[behind.start + 1 : stop + 1]
                    rows.append(SequenceRows(part.block_table, behind.start, token_ids, samples))
                    previous += behind.hidden
                    guessed += [seq] * samples
        if not rows:
            return
        started = time.perf_counter()
        self._keep(guessed, *self._runner.run_mtp(rows, torch.cat(previous)))
        if len(guessed) == len(rows) and max(map(len, previous)) <= MAX_BEHIND:  # no prompt
            self._seconds.append(time.perf_counter() - started)

    def _catch_up(self, part: ComputedRows, hidden: Tensor) -> _Behind:
        """Add a pass's rows to those that the module has yet to run."""
        seq = part.seq
        behind = self._behind.get(seq.seq_id)
        if behind is None or behind.start + behind.num_rows != part.start:  # new, or preempted meanwhile
            behind = self._behind[seq.seq_id] = _Behind(seq, part.start)
        if part.num_known > 0:
            rows = range(part.first_row, part.first_row + part.num_known)
            behind.hidden.append(self._runner.normalised(hidden, rows))
        return behind

    def extend(self, sequences: list[Sequence]) -> None:
        """Guess one more token of sequences that have a guess; where their blocks end, nothing."""
        rows: list[SequenceRows] = []
        extended: list[Sequence] = []
        for seq in sequences:
            guess = self.guess(seq)
            position = len(seq) - 2 + len(guess)
            if guess and position < len(seq.block_table) * self._runner.pool.block_size:
                rows.append(SequenceRows(seq.block_table, position, guess[-1:], 1))
                extended.append(seq)
        if not rows:
            return
        started = time.perf_counter()
        previous = torch.cat([self._guesses[seq.seq_id].hidden for seq in extended])
        self._keep(extended, *self._runner.run_mtp(rows, previous))
        self._seconds.append(time.perf_counter() - started)

    def _forget_cancelled(self, parts: list[ComputedRows]) -> None:
        """Drop sequences that ended, or gave their blocks back, without a pass."""
        computed = {part.seq.seq_id for part in parts}
        self._behind = {
            seq_id: behind
            for seq_id, behind in self._behind.items()
            if seq_id in computed or behind.seq.status is SequenceStatus.RUNNING
        }

    def _keep(self, sequences: list[Sequence], hidden: Tensor, logits: Tensor) -> None:
        for seq, state, row in zip(sequences, hidden, logits, strict=True):
            token_ids = [*self.guess(seq), int(row.argmax())]
            self._guesses[seq.seq_id] = _Guess(token_ids, state[None])
