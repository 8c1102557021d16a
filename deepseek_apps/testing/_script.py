"""The queue of scripted answers and the faults that wait for their answer. Thread-safe; knows no HTTP."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from deepseek_apps.testing._faults import Faults
from deepseek_apps.testing.replies import RawReply, Reply

__all__ = ["GENERATION_ROUTES", "Script", "Step"]

GENERATION_ROUTES = ("/chat/completions", "/completions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One scripted answer.

    Attributes:
        outcome: None leaves the answer to the responder or the default, with these faults.
        faults: How it travels.
        route: The one it is for; None is every route that generates text.
    """

    outcome: Reply | RawReply | None = None
    faults: Faults = field(default_factory=Faults)
    route: str | None = None

    def serves(self, route: str) -> bool:
        """Whether a request for the route takes this step."""
        return route == self.route if self.route else route in GENERATION_ROUTES


class Script:
    """Answers in order, each with the faults that were set before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: deque[Step] = deque()
        self._pending = Faults()

    def push(self, outcome: Reply | RawReply, *, route: str | None, times: int) -> None:
        """Queue an answer; it takes the faults that wait."""
        with self._lock:
            faults, self._pending = self._pending, Faults()
            named = None if route is None else "/" + route.strip("/")
            self._steps.extend([Step(outcome=outcome, faults=faults, route=named)] * times)

    def mistreat(self, **changes: Any) -> None:
        """Add to the faults that wait for the next answer."""
        with self._lock:
            self._pending = replace(self._pending, **changes)

    def take(self, route: str) -> Step:
        """Return the next step for a route; without one, an empty step with the faults that wait."""
        with self._lock:
            for index, step in enumerate(self._steps):
                if step.serves(route):
                    del self._steps[index]
                    return step
            if route not in GENERATION_ROUTES:
                return Step()
            faults, self._pending = self._pending, Faults()
            return Step(faults=faults)

    def put_back(self, step: Step) -> None:
        """Give back a step whose request was refused before it was answered."""
        with self._lock:
            if step.outcome is not None:
                self._steps.appendleft(step)
            elif self._pending == Faults():
                self._pending = step.faults

    def unused(self) -> list[str]:
        """Describe what nobody has asked for yet."""
        with self._lock:
            left = [str(step.outcome) for step in self._steps]
            if self._pending != Faults():
                left.append(f"faults without an answer (set them before it): {self._pending}")
            return left
