"""Failures as ChatDeepSeek raises them: each is ours, LangChain's and the openai SDK's at once.

So `except RateLimitedError`, LangChain's retry and fallback logic (which reads `is_retryable`), and code
written for langchain-deepseek, which catches `openai.RateLimitError`, all see the same exception.

| status | ours | LangChain's | the SDK's |
|---|---|---|---|
| 401, 403 | AuthenticationError | ModelAuthenticationError, ModelPermissionDeniedError | same names |
| 402 | InsufficientBalanceError | ModelError | APIStatusError |
| 400, 413, 415 | InvalidRequestError | ModelInvalidRequestError | BadRequestError |
| 422 | InvalidRequestError | ModelInvalidRequestError | UnprocessableEntityError |
| 400, too long | ContextOverflowError | ContextOverflowError | BadRequestError |
| 404, 405 | NotFoundError | ModelNotFoundError | NotFoundError |
| 429 | RateLimitedError | ModelRateLimitError | RateLimitError |
| 5xx | OverloadedError | ModelAPIError | InternalServerError |
| none | UnreachableError, TimedOutError | ModelConnectionError, ModelTimeoutError | APIConnectionError, … |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import openai
from langchain_core import exceptions as langchain

from deepseek_apps import errors

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = [
    "ChatAuthenticationError",
    "ChatBackendError",
    "ChatContextOverflowError",
    "ChatDeadlineExceededError",
    "ChatInsufficientBalanceError",
    "ChatInvalidRequestError",
    "ChatNotFoundError",
    "ChatOverloadedError",
    "ChatPermissionDeniedError",
    "ChatRateLimitedError",
    "ChatTimedOutError",
    "ChatUnprocessableError",
    "ChatUnreachableError",
    "chat_error",
    "chat_overloaded",
]


class _Chat(errors.BackendError):
    """Sets what the three families of attributes have in common, in place of the SDK's `__init__`."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        help_message: str = "",
    ) -> None:
        Exception.__init__(self, message)
        self.message = message
        self.status = status
        self.request_id = request_id
        self.help_message = help_message


class ChatBackendError(_Chat, langchain.ModelError, openai.APIError):
    """A failure of no finer kind, and one that repeating does not mend."""


class ChatAuthenticationError(
    _Chat, errors.AuthenticationError, langchain.ModelAuthenticationError, openai.AuthenticationError
):
    """401: the key is missing or wrong."""


class ChatPermissionDeniedError(
    _Chat, errors.AuthenticationError, langchain.ModelPermissionDeniedError, openai.PermissionDeniedError
):
    """403: the key is not allowed to do this."""


class ChatInsufficientBalanceError(
    _Chat, errors.InsufficientBalanceError, langchain.ModelError, openai.APIStatusError
):
    """402: the account has run out of money; LangChain has no finer class for it."""


class ChatInvalidRequestError(
    _Chat, errors.InvalidRequestError, langchain.ModelInvalidRequestError, openai.BadRequestError
):
    """400, 413, 415: the backend refuses the request as it stands."""


class ChatUnprocessableError(
    _Chat, errors.InvalidRequestError, langchain.ModelInvalidRequestError, openai.UnprocessableEntityError
):
    """422: a parameter is invalid."""


class ChatContextOverflowError(
    _Chat, errors.ContextOverflowError, langchain.ContextOverflowError, openai.BadRequestError
):
    """The prompt and the requested answer do not fit the model's context."""


class ChatNotFoundError(_Chat, errors.NotFoundError, langchain.ModelNotFoundError, openai.NotFoundError):
    """404, 405: no such model or route."""


class ChatRateLimitedError(
    _Chat, errors.RateLimitedError, langchain.ModelRateLimitError, openai.RateLimitError
):
    """429: too many requests at once."""


class ChatOverloadedError(_Chat, errors.OverloadedError, langchain.ModelAPIError, openai.InternalServerError):
    """5xx, or an answer given up half-way.

    Attributes:
        partial: What there was of the answer; None if nothing.
    """

    partial: AIMessage | None = None


class ChatUnreachableError(
    _Chat, errors.UnreachableError, langchain.ModelConnectionError, openai.APIConnectionError
):
    """There is no connection, or it broke."""


class ChatTimedOutError(_Chat, errors.TimedOutError, langchain.ModelTimeoutError, openai.APITimeoutError):
    """The backend sent nothing for longer than the time-out, or the deadline has passed."""


class ChatDeadlineExceededError(
    _Chat, errors.DeadlineExceededError, langchain.ModelTimeoutError, openai.APITimeoutError
):
    """The call's deadline has passed: there is no time left to try again."""

    is_retryable = False


CLASSES: dict[type[errors.BackendError], type[_Chat]] = {
    errors.AuthenticationError: ChatAuthenticationError,
    errors.InsufficientBalanceError: ChatInsufficientBalanceError,
    errors.InvalidRequestError: ChatInvalidRequestError,
    errors.ContextOverflowError: ChatContextOverflowError,
    errors.NotFoundError: ChatNotFoundError,
    errors.RateLimitedError: ChatRateLimitedError,
    errors.OverloadedError: ChatOverloadedError,
    errors.UnreachableError: ChatUnreachableError,
    errors.TimedOutError: ChatTimedOutError,
    errors.DeadlineExceededError: ChatDeadlineExceededError,
}
# Where two statuses share a class of ours and the other two families tell them apart.
BY_STATUS: dict[int, type[_Chat]] = {403: ChatPermissionDeniedError, 422: ChatUnprocessableError}


def chat_error(exc: Exception) -> Exception:
    """Return the exception to raise for what the SDK, httpx2 or our transports raised.

    Args:
        exc: What was caught. Errors of ours that no backend sent (settings, budgets, output), and exceptions
            of other libraries, are returned as they are.
    """
    if isinstance(exc, _Chat) or not isinstance(
        exc, errors.BackendError | openai.OpenAIError | httpx2.HTTPError
    ):
        return exc
    ours = errors.from_openai_error(exc)
    if not isinstance(ours, errors.BackendError):
        return exc
    kind = BY_STATUS.get(ours.status or 0) or CLASSES.get(type(ours), ChatBackendError)
    error = kind(str(ours), status=ours.status, request_id=ours.request_id, help_message=ours.help_message)
    _keep_what_the_sdk_knows(error, exc)
    return error


def chat_overloaded(
    message: str, *, partial: AIMessage | None = None, help_message: str = "Ask again."
) -> ChatOverloadedError:
    """Return the retryable error for an answer that the backend gave up, whatever its status was."""
    error = ChatOverloadedError(message, help_message=help_message)
    error.partial = partial
    _keep_what_the_sdk_knows(error, None)
    return error


def _keep_what_the_sdk_knows(error: _Chat, exc: Exception | None) -> None:
    """Copy request, response, body and codes, so that code written for the SDK's exceptions finds them."""
    attributes = {"request": None, "response": None, "body": None, "code": None, "param": None, "type": None}
    known = vars(exc) if isinstance(exc, openai.APIError) else {}
    for name, default in attributes.items():
        setattr(error, name, known.get(name, default))
    if error.status is not None:
        error.__dict__["status_code"] = error.status
