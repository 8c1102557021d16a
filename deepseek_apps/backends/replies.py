"""Reading a backend's replies without the openai SDK: status, JSON body, default model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deepseek_apps.errors import BackendError, NotFoundError, UnreachableError

if TYPE_CHECKING:
    import httpx2

    from deepseek_apps.backend_client import BackendClient

__all__ = ["check_status", "default_model", "error_in_stream", "read_json"]


def check_status(response: httpx2.Response) -> None:
    """Let a success pass.

    Raises:
        BackendError: The status says failure; the body is read and the reply closed.
    """
    from deepseek_apps._error_mapping import map_response  # noqa: PLC0415  loads httpx2

    if response.is_success:
        return
    response.read()
    response.close()
    try:
        body = json.loads(response.text)
    except ValueError:
        body = response.text
    message = f"the backend answered {response.status_code} {response.reason_phrase}".rstrip()
    raise map_response(response, message, body)


def error_in_stream(event: dict[str, Any]) -> BackendError:
    """Return the error that an event of a stream carries."""
    from deepseek_apps._error_mapping import map_event  # noqa: PLC0415  as above

    return map_event(event["error"], "the backend gave up half-way")


def read_json(response: httpx2.Response) -> dict[str, Any]:
    """Decode a whole reply; DeepSeek puts blank lines before it while the request waits its turn.

    Raises:
        UnreachableError: The body is not a JSON object.
    """
    try:
        value = json.loads(response.text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnreachableError(
            f"the reply is not a JSON object: {response.text.strip()[:80]!r}",
            help_message="Check that base_url is the address of a chat-completions API.",
        )
    return value


def default_model(client: BackendClient) -> str:
    """Return the model to ask for when none is named; a server is asked what it serves, once.

    Raises:
        BackendError: The server cannot be asked, or serves nothing.
    """
    if client.backend.default_model is None:
        response = client.get("models")
        check_status(response)
        served = [row["id"] for row in read_json(response).get("data", [])]
        if not served:
            raise NotFoundError(
                f"{client.backend.base_url} serves no model",
                help_message="Load a model on the server, or pass model=.",
            )
        client.backend = replace(client.backend, default_model=served[0])
    return str(client.backend.default_model)
