"""Every failure is ours, LangChain's and the SDK's at once, and says the same of itself in each language."""

from __future__ import annotations

import pickle

import httpx2
import langchain_core.exceptions as langchain
import openai
import pytest

from deepseek_apps import errors, langchain_errors
from deepseek_apps.langchain_errors import chat_error, chat_overloaded

REQUEST = httpx2.Request("POST", "https://api.deepseek.com/chat/completions")
OVERFLOW = "This model's maximum context length is 1048576 tokens. However, you requested 2000000 tokens"
CASES = [
    (401, errors.AuthenticationError, langchain.ModelAuthenticationError, openai.AuthenticationError),
    (403, errors.AuthenticationError, langchain.ModelPermissionDeniedError, openai.PermissionDeniedError),
    (402, errors.InsufficientBalanceError, langchain.ModelError, openai.APIStatusError),
    (400, errors.InvalidRequestError, langchain.ModelInvalidRequestError, openai.BadRequestError),
    (413, errors.InvalidRequestError, langchain.ModelInvalidRequestError, openai.APIStatusError),
    (422, errors.InvalidRequestError, langchain.ModelInvalidRequestError, openai.UnprocessableEntityError),
    (404, errors.NotFoundError, langchain.ModelNotFoundError, openai.NotFoundError),
    (429, errors.RateLimitedError, langchain.ModelRateLimitError, openai.RateLimitError),
    (500, errors.OverloadedError, langchain.ModelAPIError, openai.InternalServerError),
    (503, errors.OverloadedError, langchain.ModelAPIError, openai.InternalServerError),
]


def sdk_error(status: int, message: str = "why", **headers: str) -> openai.APIStatusError:
    body = {"error": {"message": message, "type": "t", "param": None, "code": "c"}}
    response = httpx2.Response(status, json=body, headers=headers, request=REQUEST)
    return openai.OpenAI(api_key="sk")._make_status_error_from_response(response)


@pytest.mark.parametrize(("status", "ours", "theirs", "sdk"), CASES)
def test_a_status_is_three_classes_at_once(
    status: int, ours: type[Exception], theirs: type[Exception], sdk: type[Exception]
) -> None:
    error = chat_error(sdk_error(status))
    for kind in (ours, theirs, sdk):
        assert isinstance(error, kind)
    assert isinstance(error, errors.BackendError)
    assert (str(error), error.status, error.status_code) == ("why", status, status)
    assert error.help_message
    assert error.is_retryable is error.retryable is (status in {429, 500, 503})


def test_an_overflow_is_langchains_overflow_too() -> None:
    error = chat_error(sdk_error(400, OVERFLOW))
    assert isinstance(error, langchain.ContextOverflowError)
    assert isinstance(error, errors.ContextOverflowError)
    assert error.exit_code == 5
    assert not error.is_retryable


def test_what_the_sdk_knows_is_kept() -> None:
    error = chat_error(sdk_error(429, **{"x-ds-trace-id": "trace-1"}))
    assert error.body == {"message": "why", "type": "t", "param": None, "code": "c"}
    assert (error.code, error.type, error.request_id) == ("c", "t", "trace-1")
    assert error.response.status_code == 429
    assert error.request is REQUEST


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (openai.APITimeoutError(REQUEST), langchain_errors.ChatTimedOutError),
        (openai.APIConnectionError(request=REQUEST), langchain_errors.ChatUnreachableError),
        (httpx2.RemoteProtocolError("cut"), langchain_errors.ChatUnreachableError),
        (errors.UnreachableError("no JSON"), langchain_errors.ChatUnreachableError),
    ],
)
def test_a_lost_connection_can_be_retried(raised: Exception, kind: type[Exception]) -> None:
    error = chat_error(raised)
    assert type(error) is kind
    assert error.is_retryable


@pytest.mark.parametrize(
    "raised", [errors.SettingsError("x"), errors.BudgetExceededError("y"), KeyError("z")]
)
def test_what_no_backend_sent_stays_as_it_is(raised: Exception) -> None:
    assert chat_error(raised) is raised


def test_a_deadline_leaves_no_time_to_retry() -> None:
    error = chat_error(errors.DeadlineExceededError("30 s are over"))
    assert isinstance(error, errors.TimedOutError)
    assert isinstance(error, langchain.ModelTimeoutError)
    assert isinstance(error, openai.APITimeoutError)
    assert not error.is_retryable
    assert not error.retryable


def test_mapping_twice_changes_nothing() -> None:
    error = chat_overloaded("given up")
    assert chat_error(error) is error
    assert error.is_retryable


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(chat_error(sdk_error(402))))
    assert type(error) is langchain_errors.ChatInsufficientBalanceError
    assert (str(error), error.status) == ("why", 402)
