"""Speculation: which tokens to guess ahead, and whether guessing pays. docs/speculation.md tells why.

A guess is run together with the token it follows; the engine keeps what its sampler would have drawn anyway.
So speculation changes when tokens come, never which (but for the rounding of batched sums).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from local_backend.config import Speculation
from local_backend.engine.acceptance import Acceptance
from local_backend.engine.draft_lengths import draft_lengths
from local_backend.engine.pass_costs import PassCosts
from local_backend.engine.prompt_lookup import Match, PromptLookup
from local_backend.scheduler.batch import ScheduledBatch
from local_backend.sequence import Sequence

__all__ = ["SpeculationStatistics", "Speculator"]

MAX_DRAFT = 15  # tokens guessed of one sequence
MAX_ROWS = 32  # of a pass that speculates
MAX_SEQUENCES = 8  # more decode together well without guesses
SURE = 0.5  # chance from which a guess is run beside a prefill, where a row hardly counts


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
    lookup: PromptLookup = field(default_factory=PromptLookup)
    acceptance: Acceptance = field(default_factory=Acceptance)
    match: Match | None = None
    guess: list[int] = field(default_factory=list)


class Speculator:
    """Guesses for all sequences of one engine; not thread-safe, as the engine is not.

    Args:
        mode: "auto" and "prompt-lookup" guess by prompt lookup, "off" never.
        max_model_len: Positions of a sequence.
    """

    def __init__(self, mode: Speculation, max_model_len: int) -> None:
        self._off = mode == "off"
        self._max_model_len = max_model_len
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
        chances = [self._guess(seq) for seq in decoding]
        if len(decoding) < len(running):
            lengths = [sum(chance >= SURE for chance in row) for row in chances]
        else:
            max_rows = min(MAX_ROWS, self._costs.known)
            lengths = draft_lengths(chances, self._costs.of, max_rows=max_rows)
        for seq, length in zip(decoding, lengths, strict=True):
            seq.draft_token_ids = self._states[seq.seq_id].guess[:length]

    def learn(self, seq: Sequence, num_new_tokens: int) -> None:
        """Compare the guess, run or not, with the tokens that a pass has added to a sequence."""
        state = self._states.get(seq.seq_id)
        if state is not None and state.match is not None and num_new_tokens:
            state.acceptance.record(state.match.length, state.guess, seq.token_ids[-num_new_tokens:])
            state.match = None

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

    def _guess(self, seq: Sequence) -> list[float]:
        """Find a guess and return the chances of its first, first two, ... tokens; empty without one."""
        state = self._states.setdefault(seq.seq_id, _State())
        state.match = state.lookup.find(seq.token_ids)
        if state.match is None:
            return []
        # One more than is run: what comes after a draft that came true is compared as well.
        state.guess = PromptLookup.following(seq.token_ids, state.match, MAX_DRAFT + 1)
        return state.acceptance.chances(state.match.length, min(MAX_DRAFT, self._room(seq)))

    def _room(self, seq: Sequence) -> int:
        """Guesses that can be of use: each pass adds one token more than it guesses."""
        left = seq.params.max_tokens - seq.num_generated_tokens
        return max(0, min(left, self._max_model_len - len(seq)) - 1)
