"""A DeepSeek for tests: a real server on a free loopback port, scripted with replies and faults."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

from deepseek_apps.testing._listener import Listener
from deepseek_apps.testing._options import FakeOptions
from deepseek_apps.testing._script import Script
from deepseek_apps.testing._scripting import Scripting
from deepseek_apps.testing._service import Responder, Service
from deepseek_apps.testing.requests import Request

__all__ = ["FakeDeepSeek"]


class FakeDeepSeek(Scripting):
    """The hosted API on 127.0.0.1, to be used as a context manager.

        with FakeDeepSeek() as fake:
            fake.reply("Hello", reasoning="A greeting.")
            client = DeepSeek(backend="hosted", base_url=fake.url, api_key=fake.api_key)
            ...
            assert fake.requests[0].last_user_text == "Hi"

    It checks requests as the API does, and answers from the script, else from `responder`, else with a
    default made of the request: an echo, JSON that fits the schema in the prompt, or a tool call where one
    is required or named in the last user message. A fault (`delay`, `cut`, …) is set before the answer
    that it belongs to. Requests that the API would refuse get its 400 and use up nothing.

    Args:
        api_key: What clients must send; "" asks for no key.
        models: The names it serves; None is the API's own, aliases included.
        reasoning_policy: Whether a tool turn without `reasoning_content` is taken ("fill", an empty one) or
            refused with the API's 400 ("reject"). Both have been seen.
        usage_chunk: Where a stream has its usage: on the "finish" chunk, as recorded, or on a "trailing" one
            without choices if `include_usage` asks for it, as documented.
        count_tokens: Count with DeepSeek's tokenizer (loads in 0.3 s, once a process); False counts four
            characters as one.
        concurrency: How many generations at once, above which there is a 429; None for any number.
        context: Tokens that prompt and answer may have together; None is the model's own.
        balance: The account's money; at "0" every generation gets the 402.
        currency: Of the balance.

    Attributes:
        responder: Called with each request for text that finds no scripted reply; None from it is the
            default answer. What it raises is answered with a 500, and raised again when the block ends.
        client_left: Set when a client goes before its answer is complete.

    Raises:
        ValueError: An argument makes no sense.
    """

    def __init__(
        self,
        *,
        api_key: str = "sk-fake-deepseek",
        models: Sequence[str] | None = None,
        reasoning_policy: Literal["fill", "reject"] = "fill",
        usage_chunk: Literal["finish", "trailing"] = "finish",
        count_tokens: bool = True,
        concurrency: int | None = None,
        context: int | None = None,
        balance: str = "110.00",
        currency: Literal["CNY", "USD"] = "CNY",
    ) -> None:
        options = FakeOptions(
            api_key=api_key,
            models=None if models is None else tuple(models),
            reasoning_policy=reasoning_policy,
            usage_chunk=usage_chunk,
            count_tokens=count_tokens,
            concurrency=concurrency,
            context=context,
            balance=balance,
            currency=currency,
        )
        self.client_left = threading.Event()
        super().__init__(Script())
        self._service = Service(options, self._script)
        self._listener: Listener | None = None
        self._requests: list[Request] = []

    def __enter__(self) -> Self:
        self._listener = Listener(self._service, self._requests.append, self.client_left)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self._service.errors:
            raise self._service.errors[0]

    def close(self) -> None:
        """Stop serving: end every connection and thread. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    @property
    def url(self) -> str:
        """The base URL; append "/v1" or "/beta" as with the API.

        Raises:
            RuntimeError: The fake is not running.
        """
        if self._listener is None:
            raise RuntimeError("the fake is not running; use it as `with FakeDeepSeek() as fake:`")
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def api_key(self) -> str:
        """The key that clients must send."""
        return self._service.options.api_key

    @property
    def requests(self) -> tuple[Request, ...]:
        """Everything that was asked so far, refused requests too."""
        return tuple(self._requests)

    @property
    def peak_in_flight(self) -> int:
        """The most generations that were in flight at once so far."""
        return self._service.peak_in_flight

    @property
    def responder(self) -> Responder | None:
        """See the class."""
        return self._service.responder

    @responder.setter
    def responder(self, responder: Responder | None) -> None:
        self._service.responder = responder

    def configure(
        self,
        *,
        balance: str | None = None,
        concurrency: int | None = None,
        reasoning_policy: Literal["fill", "reject"] | None = None,
    ) -> Self:
        """Change what the class's arguments said, while running; None leaves a value as it is."""
        given = {"balance": balance, "concurrency": concurrency, "reasoning_policy": reasoning_policy}
        self._service.change(**{name: value for name, value in given.items() if value is not None})
        return self
