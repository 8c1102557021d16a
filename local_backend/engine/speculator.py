"""Speculation: which tokens to guess ahead, and whether guessing pays. docs/speculation.md tells why.

A guess is run together with the token it follows; the engine keeps what its sampler would have drawn anyway.
So speculation changes when tokens come, never which (but for the rounding of batched sums).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from local_backend.config import Speculation
from local_backend.engine.acceptance import Acceptance
from local_backend.engine.draft_lengths import draft_lengths
from local_backend.engine.mtp_drafter import ComputedRows, MTPDrafter
from local_backend.engine.pass_costs import PassCosts
from local_backend.engine.prompt_lookup import MAX_MATCH, Match, PromptLookup
from local_backend.scheduler.batch import ScheduledBatch
from local_backend.sequence import Sequence

__all__ = ["SpeculationStatistics", "Speculator"]

MAX_DRAFT = 15  # tokens guessed of one sequence
MAX_ROWS = 32  # of a pass that speculates
MAX_SEQUENCES = 8  # more decode together well without guesses
MAX_PREDICTED = 4  # tokens guessed by the prediction module, which was trained for the first
SURE = 0.5  # chance from which a guess is run beside a prefill, where a row hardly counts
PATIENCE, PROBE = 4, 32  # guesses of no use after which the module is asked every 32nd token only

# Shares of true guesses before anything is known: by tokens that matched, and by tokens predicted before.
LOOKUP_SHARES = {2: 0.25, 3: 0.4, 4: 0.5, 5: 0.65, 8: 0.8, 12: 0.9, MAX_MATCH: 0.95}
MODULE_SHARES = {0: 0.8, 1: 0.65, 2: 0.5, 3: 0.4}


@dataclass(frozen=True, slots=True)
class SpeculationStatistics:
    """What guessing has come to since the engine was made.

    Attributes:
        num_drafted_tokens: Guesses that were run.
        num_accepted_tokens: Of them, those that came true.
        num_passes: Passes that ran at least one guess.
    """

    num_drafted_tokens: int = 0
    num_accepted_tokens: int = 0
    num_passes: int = 0


@dataclass(slots=True)
class _State:
    """What is known of one sequence.

    Attributes:
        lookup, match, found: Prompt lookup, what it found last, and the tokens that followed there.
        lookup_shares, module_shares: How often guesses of either kind came true.
        predicted: The prediction module's guess.
        drafts: The better of the two.
        idle: How often in a row the module's guess was not worth running.
    """

    lookup: PromptLookup = field(default_factory=PromptLookup)
    lookup_shares: Acceptance = field(default_factory=lambda: Acceptance(LOOKUP_SHARES))
    module_shares: Acceptance = field(default_factory=lambda: Acceptance(MODULE_SHARES))
    match: Match | None = None
    found: list[int] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)
    drafts: list[int] = field(default_factory=list)
    idle: int = 0


class Speculator:
    """Guesses for all sequences of one engine; not thread-safe, as the engine is not.

    Args:
        mode: "off" never guesses, "prompt-lookup" and "mtp" in one way, "auto" in both.
        max_model_len: Positions of a sequence.
        drafter: The prediction module, where the model has one and the mode uses it.
    """

    def __init__(self, mode: Speculation, max_model_len: int, drafter: MTPDrafter | None = None) -> None:
        self._off = mode == "off"
        self._looks_up = mode != "mtp"
        self._max_model_len = max_model_len
        self._drafter = drafter
        self._states: dict[int, _State] = {}
        self._costs = PassCosts()
        self.statistics = SpeculationStatistics()

    def draft(self, running: list[Sequence]) -> None:
        """Set draft_token_ids of the sequences that run, before they are scheduled."""
        decoding = [seq for seq in running if seq.num_uncomputed_tokens == 1]
        for seq in running:
            seq.draft_token_ids = []
        if self._off or not 0 < len(decoding) <= MAX_SEQUENCES:
            self._states.clear()
            return
        found = [self._look_up(seq) for seq in decoding]
        predicted = self._predict(decoding, found)
        chances = [self._choose(seq, *pair) for seq, *pair in zip(decoding, found, predicted, strict=True)]
        if len(decoding) < len(running):
            lengths = [sum(chance >= SURE for chance in row) for row in chances]
        else:
            lengths = draft_lengths(chances, self._cost(decoding), max_rows=min(MAX_ROWS, self._costs.known))
        for seq, length in zip(decoding, lengths, strict=True):
            state = self._states[seq.seq_id]
            seq.draft_token_ids = state.drafts[:length]
            used = length and state.drafts is state.predicted
            state.idle = 0 if used else state.idle + bool(state.predicted)

    def follow(self, parts: list[ComputedRows], hidden: Tensor) -> None:
        """Let the prediction module see what a pass has computed; see MTPDrafter.follow."""
        if self._drafter is None:
            return
        few = sum(part.seq.num_uncomputed_tokens == 1 for part in parts) <= MAX_SEQUENCES
        self._drafter.follow(parts, hidden, lambda seq: few and self._is_worth_predicting(seq))

    def learn(self, seq: Sequence, num_new_tokens: int) -> None:
        """Compare the guesses, run or not, with the tokens that a pass has added to a sequence."""
        state = self._states.get(seq.seq_id)
        if state is None or not num_new_tokens:
            return
        came = seq.token_ids[-num_new_tokens:]
        if state.match is not None:
            state.lookup_shares.record(state.match.length, state.found, came)
        state.module_shares.record(0, state.predicted, came)
        state.match, state.predicted = None, []

    def record(self, batch: ScheduledBatch, num_accepted: int, seconds: float) -> None:
        """Learn what a pass has cost; only passes of decoding say something about decoding."""
        if batch.num_drafted_tokens:
            known = self.statistics
            self.statistics = SpeculationStatistics(
                known.num_drafted_tokens + batch.num_drafted_tokens,
                known.num_accepted_tokens + num_accepted,
                known.num_passes + 1,
            )
        if all(item.num_scheduled_tokens == 1 + len(item.draft_token_ids) for item in batch.items):
            self._costs.record(batch.num_tokens, seconds)

    def forget(self, seq: Sequence) -> None:
        """Drop what is known of a finished sequence."""
        self._states.pop(seq.seq_id, None)
        if self._drafter is not None:
            self._drafter.forget(seq)

    def _look_up(self, seq: Sequence) -> list[float]:
        """Look for a guess; returns the chances of its first, first two, ... tokens, none without one."""
        state = self._states.setdefault(seq.seq_id, _State())
        state.match = state.lookup.find(seq.token_ids) if self._looks_up else None
        if state.match is None:
            return []
        # One more than is run: what comes after a draft that came true is compared as well.
        state.found = PromptLookup.following(seq.token_ids, state.match, MAX_DRAFT + 1)
        return state.lookup_shares.chances(state.match.length, min(MAX_DRAFT, self._room(seq)))

    def _predict(self, decoding: list[Sequence], found: list[list[float]]) -> list[list[float]]:
        """Let the module guess as far as that may pay; returns chances as _look_up does."""
        if self._drafter is None:
            return [[] for _ in decoding]
        for length in range(1, MAX_PREDICTED):
            further = [
                seq
                for seq, chances in zip(decoding, found, strict=True)
                if self._is_worth_extending(seq, length, sum(chances))
            ]
            if not further:
                break
            self._drafter.extend(further)
        return [self._predicted(seq) for seq in decoding]

    def _predicted(self, seq: Sequence) -> list[float]:
        assert self._drafter is not None
        state = self._states[seq.seq_id]
        state.predicted = self._drafter.guess(seq)
        return state.module_shares.chances(0, min(len(state.predicted), self._room(seq)))

    def _is_worth_extending(self, seq: Sequence, length: int, found: float) -> bool:
        """Whether one more token than `length` is expected to save more time than it takes to guess and run.

        Args:
            seq: The sequence.
            length: Of the module's guess so far; another length is not extended.
            found: Tokens that prompt lookup is expected to yield.
        """
        assert self._drafter is not None
        if len(self._drafter.guess(seq)) != length or self._room(seq) <= length or self._costs.known < 2:
            return False
        chances = self._states[seq.seq_id].module_shares.chances(0, length + 1)
        plain = self._costs.of(1)
        spent = self._drafter.seconds + self._costs.of(2) - plain
        return sum(chances) > found and chances[-1] * plain > spent

    def _is_worth_predicting(self, seq: Sequence) -> bool:
        """Whether to guess at all; a module that was of no use for a while is asked now and then."""
        state = self._states.get(seq.seq_id)
        return state is None or state.idle < PATIENCE or len(seq) % PROBE == 0

    def _choose(self, seq: Sequence, found: list[float], predicted: list[float]) -> list[float]:
        """Take the guess that is expected to yield more; returns its chances."""
        state = self._states[seq.seq_id]
        by_module = sum(predicted) > sum(found)
        state.drafts = state.predicted if by_module else state.found
        return predicted if by_module else found

    def _cost(self, decoding: list[Sequence]) -> Callable[[int], float]:
        """Return the cost of a pass by its rows; with guesses of the module, what these cost counts too."""
        states = [self._states[seq.seq_id] for seq in decoding]
        predicted = any(state.predicted and state.drafts is state.predicted for state in states)
        guessing = self._drafter.seconds if self._drafter is not None and predicted else 0.0
        return lambda rows: self._costs.of(rows) + (guessing if rows > len(decoding) else 0.0)

    def _room(self, seq: Sequence) -> int:
        """Guesses that can be of use: each pass adds one token more than it guesses."""
        left = seq.params.max_tokens - seq.num_generated_tokens
        return max(0, min(left, self._max_model_len - len(seq)) - 1)
