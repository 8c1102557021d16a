"""One request of a batch sent once: what came back, and what that means. Does not decide to try again.

The reply is kept as it came. Some of DeepSeek's errors are JSON under another content type, plain text, or
nothing at all, so bodies are understood by trying.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from deepseek_apps._error_mapping import TRACE_HEADERS, map_error, map_event, map_response
from deepseek_apps.batch.line_checks import BatchRequest
from deepseek_apps.batch.result_lines import result_line
from deepseek_apps.errors import BackendError, DeepSeekAppsError, OverloadedError, UnreachableError

__all__ = ["Reply", "exchange"]

GAVE_UP = "insufficient_system_resource"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of sending a request.

    Attributes:
        status: HTTP status; None when no reply came.
        headers: The reply's headers.
        body: The reply, decoded where it is JSON.
        error: What went wrong; None for an answer.
        retry_after: Seconds the backend asks to wait, None if it does not say.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    error: DeepSeekAppsError | None = None
    retry_after: float | None = None

    @property
    def usage(self) -> Mapping[str, Any]:
        """Token counts as the backend sent them; empty if it sent none."""
        usage = self.body.get("usage") if isinstance(self.body, dict) else None
        return usage if isinstance(usage, dict) else {}

    @property
    def model(self) -> str:
        """Model name the backend reported, if it did."""
        return str(self.body.get("model") or "") if isinstance(self.body, dict) else ""

    def line(self, custom_id: str) -> bytes:
        """Return the reply as a line of the batch's output."""
        body = self.body if isinstance(self.body, dict) else {"error": {"message": self.body or ""}}
        trace = next((self.headers[name] for name in TRACE_HEADERS if name in self.headers), None)
        return result_line(
            custom_id,
            status=self.status,
            request_id=trace or str(body.get("id") or ""),
            body=body,
            error=None if self.error is None else _error_row(self.error, self.status),
        )


async def exchange(client: httpx2.AsyncClient, request: BatchRequest, *, model: str | None) -> Reply:
    """Send a request once.

    Args:
        client: Where to; see `deepseek_apps.async_http_client`.
        request: What to send.
        model: Model for a body that names none.

    Returns:
        The reply. What went wrong is in it: nothing that a backend does is raised.
    """
    body = request.body if "model" in request.body or model is None else {**request.body, "model": model}
    try:
        response = await client.post(request.route, json=body)
    except (httpx2.HTTPError, DeepSeekAppsError) as error:
        return Reply(error=error if isinstance(error, DeepSeekAppsError) else map_error(error))
    content = _decoded(response)
    return Reply(
        status=response.status_code,
        headers=response.headers,
        body=content,
        error=_judge(response, content),
        retry_after=_seconds(response.headers.get("retry-after")),
    )


def _judge(response: httpx2.Response, body: object) -> BackendError | None:
    if not response.is_success:
        message = f"the backend answered {response.status_code} {response.reason_phrase}".rstrip()
        return map_response(response, message, body)
    if not isinstance(body, dict):
        return UnreachableError(
            f"the reply is not a JSON object: {response.text.strip()[:80]!r}", status=response.status_code
        )
    if isinstance(body.get("error"), dict | str) and body["error"]:
        return map_event(body["error"], "the backend gave up half-way")
    choices = body.get("choices")
    if isinstance(choices, list) and any(
        isinstance(choice, dict) and choice.get("finish_reason") == GAVE_UP for choice in choices
    ):
        return OverloadedError(f"the backend gave the answer up: {GAVE_UP}", status=response.status_code)
    return None


def _error_row(error: DeepSeekAppsError, status: int | None) -> dict[str, Any]:
    """Return an error in OpenAI's form, and whether another try may help, which a resumed batch needs."""
    code = type(error).__name__.removesuffix("Error")
    return {
        "code": str(status) if status is not None and status >= 400 else code,
        "message": str(error),
        "retryable": error.retryable,
    }


def _decoded(response: httpx2.Response) -> Any:
    """Return the body's JSON, whatever its content type says; else its text."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return response.text


def _seconds(header: str | None) -> float | None:
    try:
        value = float(header or "")
    except ValueError:
        return None
    return value if 0 <= value <= 3600 else None
