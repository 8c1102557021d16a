"""How failures of a backend become errors of ours: exceptions of the openai SDK and httpx2, replies, events.

Loads httpx2, so errors.py imports it late. The SDK is not loaded: where it is not, nothing of it was raised.

Statuses and texts: DeepSeek's error page and bodies recorded from its API, 2026-11.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import httpx2

from deepseek_apps import errors

__all__ = ["map_error", "map_event", "map_response"]

BACKEND_HEADER = "x-deepseek-apps-backend"
TRACE_HEADERS = ("x-ds-trace-id", "x-request-id", "x-deepseek-request-id")
CONTEXT_OVERFLOW_TEXT = "maximum context length"
LASTING_HELP = "Mend what the message names; until then every request gets this answer."
CUT_STREAM_HELP = "The answer is incomplete; ask again."

STATUS_CLASSES: Mapping[int, type[errors.BackendError]] = {
    401: errors.AuthenticationError,
    402: errors.InsufficientBalanceError,
    403: errors.AuthenticationError,
    404: errors.NotFoundError,
    405: errors.NotFoundError,
    408: errors.TimedOutError,
    429: errors.RateLimitedError,
}
HELP: Mapping[type[errors.BackendError], str] = {
    errors.AuthenticationError: "Check the key in DEEPSEEK_API_KEY; create one at "
    "https://platform.deepseek.com/api_keys.",
    errors.InsufficientBalanceError: "Top up at https://platform.deepseek.com/top_up, or answer on this "
    "machine with the local backend.",
    errors.ContextOverflowError: "Shorten the prompt or lower max_tokens.",
    errors.InvalidRequestError: "Change the request as the message says.",
    errors.NotFoundError: "Check the model name and the base URL; GET /models lists what is served.",
    errors.RateLimitedError: "Wait a little, or send fewer requests at once.",
    errors.OverloadedError: "Try again in a little while.",
    errors.TimedOutError: "Try again, or allow more time with the timeout setting.",
}
# Where the next step depends on who answered, which a response header says.
BACKEND_HELP: Mapping[tuple[str, type[errors.BackendError]], str] = {
    (
        "server",
        errors.AuthenticationError,
    ): "Set the server's key in DEEPSEEK_APPS_SERVER_API_KEY, or pass api_key with its base_url.",
    ("server", errors.InsufficientBalanceError): "Ask whoever runs the server.",
    ("local", errors.NotFoundError): "`deepseek-apps models list` shows what can be used on this machine.",
}


def map_error(exc: Exception) -> errors.DeepSeekAppsError:
    """Return the error of ours that says what `exc` says; see `errors.from_openai_error`."""
    if isinstance(exc, httpx2.HTTPStatusError):
        return map_response(exc.response, str(exc), None)
    if isinstance(exc, httpx2.TimeoutException):
        return _from_timeout(exc)
    if isinstance(exc, httpx2.TransportError):
        return _from_connection(exc, exc)
    if isinstance(exc, httpx2.HTTPError):
        return errors.BackendError(_text_of(exc))
    mapped = _from_sdk(exc) if "openai" in sys.modules else None
    return mapped or errors.DeepSeekAppsError(f"{type(exc).__name__}: {exc}")


def _from_sdk(exc: Exception) -> errors.BackendError | None:
    import openai  # noqa: PLC0415  it is loaded already

    if isinstance(exc, openai.APIStatusError):
        return map_response(exc.response, str(exc), exc.body)
    if isinstance(exc, openai.APITimeoutError):
        return _from_timeout(exc)
    if isinstance(exc, openai.APIConnectionError):
        return _from_connection(exc, exc.__cause__ or exc)
    if isinstance(exc, openai.APIError):
        return map_event(exc.body, _text_of(exc))
    return errors.BackendError(_text_of(exc)) if isinstance(exc, openai.OpenAIError) else None


def map_response(response: httpx2.Response, message: str, body: object) -> errors.BackendError:
    """Return the error that a reply with a failure status means.

    Args:
        response: The reply; its body need not be read.
        message: What to say when the body says nothing.
        body: The decoded body: JSON, text or None.
    """
    status = response.status_code
    text = _body_message(body) or message
    kind = _class_of(status, text)
    backend = response.headers.get(BACKEND_HEADER, "")
    help_message = BACKEND_HELP.get((backend, kind)) or HELP.get(kind, "")
    if kind is errors.OverloadedError and response.headers.get("x-should-retry") == "false":
        kind, help_message = errors.BackendError, LASTING_HELP
    if 300 <= status < 400:
        text = f"the backend answered with a redirect to {response.headers.get('location', 'nowhere')!r}"
        help_message = "Set base_url to the final address; redirects are never followed with a key."
    request_id = next((response.headers[name] for name in TRACE_HEADERS if name in response.headers), None)
    return kind(text, status=status, request_id=request_id, help_message=help_message)


def _class_of(status: int, text: str) -> type[errors.BackendError]:
    if CONTEXT_OVERFLOW_TEXT in text:
        return errors.ContextOverflowError
    if status in STATUS_CLASSES:
        return STATUS_CLASSES[status]
    if status >= 500:
        return errors.OverloadedError
    return errors.InvalidRequestError if status >= 400 else errors.BackendError


def _from_connection(exc: Exception, cause: BaseException) -> errors.BackendError:
    where = _host_of(exc)
    if isinstance(cause, httpx2.RemoteProtocolError | httpx2.ReadError):
        return errors.UnreachableError(
            f"the connection to {where} broke off: {_text_of(cause)}", help_message=CUT_STREAM_HELP
        )
    return errors.UnreachableError(
        f"cannot reach {where}: {_text_of(cause)}",
        help_message="Check the network and the base URL, or answer on this machine with the local backend.",
    )


def map_event(body: object, message: str) -> errors.BackendError:
    """Map an error that came as an event inside a stream, where the status was already 200."""
    text = _body_message(body) or message
    status = _status_in(body)
    kind = _class_of(status or 500, text)
    return kind(text, status=status, help_message=HELP.get(kind, ""))


def _from_timeout(exc: Exception) -> errors.TimedOutError:
    text = f"{_host_of(exc)} sent nothing for longer than the time-out"
    return errors.TimedOutError(text, help_message=HELP[errors.TimedOutError])


def _host_of(exc: Exception) -> str:
    try:
        request = getattr(exc, "request", None)
    except RuntimeError:  # httpx2 raised it before there was a request
        request = None
    if not isinstance(request, httpx2.Request):
        return "the backend"
    # With the port: on one machine it is what tells servers apart.
    return request.url.netloc.decode("ascii", "replace")


def _body_message(body: object) -> str:
    """Return the backend's own sentence; DeepSeek sends JSON in OpenAI's form, and plain text."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, Mapping) else inner
        return message if isinstance(message, str) else ""
    return body.strip()[:500] if isinstance(body, str) else ""


def _status_in(body: object) -> int | None:
    code = body.get("code") if isinstance(body, Mapping) else None
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _text_of(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
