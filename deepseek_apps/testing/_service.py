"""From a request to an answer and its faults: routes, keys and the order of the API's checks. No sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from deepseek_apps.testing._faults import Faults
from deepseek_apps.testing._files import FileStore
from deepseek_apps.testing._generation import Answer, Generator
from deepseek_apps.testing._ids import Ids
from deepseek_apps.testing._options import FakeOptions
from deepseek_apps.testing._script import GENERATION_ROUTES, Script, Step
from deepseek_apps.testing._shapes import dump
from deepseek_apps.testing.failures import (
    HttpError,
    failure,
    json_error,
    over_concurrency,
    plain_error,
    wrong_key,
)
from deepseek_apps.testing.replies import RawReply, Reply
from deepseek_apps.testing.requests import Request

__all__ = ["Outgoing", "Responder", "Service"]

Responder = Callable[[Request], Reply | RawReply | None]

_METHODS = {
    "/chat/completions": ("POST",),
    "/completions": ("POST",),
    "/models": ("GET",),
    "/user/balance": ("GET",),
    "/files": ("POST", "GET"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """An answer and how it travels.

    Attributes:
        answer: What to send.
        faults: How.
        release: Ends the request's being in flight; to be called before its last byte, since a client that
            has that byte may ask again at once.
    """

    answer: Answer
    faults: Faults
    release: Callable[[], None]


class Service:
    """Answers requests from the script, the responder or the defaults. Thread-safe.

    Attributes:
        errors: What a responder raised.
        peak_in_flight: The most generations at once so far.
    """

    def __init__(self, options: FakeOptions, script: Script) -> None:
        self.options = options
        self.responder: Responder | None = None
        self.errors: list[Exception] = []
        self.peak_in_flight = 0
        self._script = script
        self._ids = Ids()
        self._generator = Generator(self._ids, count_tokens=options.count_tokens)
        self._files = FileStore()
        self._lock = threading.Lock()
        self._in_flight = 0

    @contextmanager
    def answering(self, request: Request) -> Iterator[Outgoing]:
        """Give the answer; the request counts as in flight until the block ends."""
        release, current = self._enter(request)
        try:
            answer, faults = self._choose(request, current)
            traced = replace(answer, headers=(("x-ds-trace-id", self._ids.trace_id()), *answer.headers))
            yield Outgoing(answer=traced, faults=faults, release=release)
        finally:
            release()

    def change(self, **options: object) -> None:
        """Replace options while running."""
        self.options = replace(self.options, **options)  # type: ignore[arg-type]

    def _enter(self, request: Request) -> tuple[Callable[[], None], int]:
        """Count a generation; return what ends the count, once, and how many there are."""
        if request.route not in GENERATION_ROUTES:
            return (lambda: None), 0
        left = threading.Lock()

        def release() -> None:
            if left.acquire(blocking=False):
                with self._lock:
                    self._in_flight -= 1

        with self._lock:
            self._in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self._in_flight)
            return release, self._in_flight

    def _choose(self, request: Request, current: int) -> tuple[Answer, Faults]:
        try:
            self._admit(request)
            step = self._script.take(request.route)
            return self._answer(request, step, current), step.faults
        except HttpError as error:
            return Answer.of(error.reply), Faults()
        except Exception as error:  # noqa: BLE001  (a test's responder may raise anything)
            self.errors.append(error)
            text = f"the test's responder raised {type(error).__name__}: {error}"
            return Answer.of(json_error(500, text, "server_error", "internal_error")), Faults()

    def _admit(self, request: Request) -> None:
        route = "/files" if request.route.startswith("/files/") else request.route
        methods = _METHODS.get(route)
        if methods is None:
            raise HttpError(plain_error(404))
        if route == request.route and request.method not in methods:
            raise HttpError(plain_error(405))
        if not self.options.api_key:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise HttpError(failure("no_key"))
        if key.strip() != self.options.api_key:
            raise HttpError(wrong_key(key.strip()))

    def _answer(self, request: Request, step: Step, current: int) -> Answer:
        if isinstance(step.outcome, RawReply):
            return Answer.of(step.outcome)
        if request.route == "/models":
            rows = [{"id": name, "object": "model", "owned_by": "deepseek"} for name in self.options.served]
            return _json({"object": "list", "data": rows})
        if request.route == "/user/balance":
            return _json(self._balance())
        if request.route.startswith("/files"):
            return Answer.of(self._files.answer(request))
        try:
            return self._generate(request, step.outcome, current)
        except HttpError:
            self._script.put_back(step)
            raise

    def _generate(self, request: Request, scripted: Reply | None, current: int) -> Answer:
        _require_json(request)
        if not self.options.has_money:
            raise HttpError(failure(402))
        limit = self.options.concurrency
        if limit is not None and current > limit:
            raise HttpError(over_concurrency(current, limit))

        def choose(default: Callable[[], Reply]) -> Reply:
            if scripted is not None:
                return scripted
            made = self.responder(request) if self.responder else None
            if isinstance(made, RawReply):
                raise _RawError(made)
            return made or default()

        generate = self._generator.fim if request.route == "/completions" else self._generator.chat
        try:
            return generate(request, self.options, choose)
        except _RawError as raw:
            return Answer.of(raw.reply)

    def _balance(self) -> dict[str, object]:
        total = self.options.balance
        row = {"currency": self.options.currency, "total_balance": total}
        row |= {"granted_balance": "0.00", "topped_up_balance": total}
        return {"is_available": self.options.has_money, "balance_infos": [row]}


class _RawError(Exception):
    """Carries a responder's raw reply past the writing of replies."""

    def __init__(self, reply: RawReply) -> None:
        super().__init__()
        self.reply = reply


def _json(value: object) -> Answer:
    return Answer(parts=(dump(value),))


def _require_json(request: Request) -> None:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise HttpError(failure(415))
