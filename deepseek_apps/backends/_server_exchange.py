"""One request to a server and its answer, and what is known of the server: what sync and async share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from deepseek_apps.backends._from_server import refusal, reply_from_server
from deepseek_apps.backends._server_request import UnsupportedRequestError
from deepseek_apps.backends._to_server import REQUEST_MARKERS, to_server
from deepseek_apps.backends.base import BACKEND_HEADER
from deepseek_apps.backends.guard import with_body
from deepseek_apps.catalog.servers import GENERIC_FLAVOR, ServerFlavor, server_flavor, servers

__all__ = ["DROPPED_HEADER", "ServerExchange", "ServerKnowledge", "is_event_stream", "replaced"]

# Response header that names what of a request the server would not understand and was not sent.
DROPPED_HEADER = "x-deepseek-apps-dropped"
QUESTION_SECONDS = 5.0
# Servers that fail at such a question close the connection, which the request behind it must not be sent on.
QUESTION_HEADERS = {"accept": "application/json", "connection": "close"}
RETRY_SECONDS = 60.0
TRANSLATED_ROUTES = ("/chat/completions", "/completions")


class ServerKnowledge:
    """What a transport knows of its server: the flavor, once it is told, recognised or given up.

    Args:
        base_url: The server's address.
        flavor: Its software; None recognises it.
    """

    def __init__(self, base_url: str, flavor: str | None) -> None:
        self._base_url = httpx2.URL(base_url)
        self._retry_at = 0.0
        self.flavor: ServerFlavor | None = None if flavor is None else server_flavor(flavor)

    def must_ask(self, request: httpx2.Request) -> bool:
        """Whether this request cannot be sent before the server is known."""
        return self.flavor is None and time.monotonic() >= self._retry_at and _says_it_the_hosted_way(request)

    def questions(self) -> Iterator[httpx2.Request]:
        """Yield requests that tell what the server is, as long as it is not known."""
        path = self._base_url.path.rstrip("/")
        root = path.removesuffix("/v1")
        for route in (f"{path}/models", f"{root}/openapi.json"):
            if self.flavor is None:
                extensions = {"timeout": httpx2.Timeout(QUESTION_SECONDS).as_dict()}
                url = self._base_url.copy_with(path=route)
                yield httpx2.Request("GET", url, headers=QUESTION_HEADERS, extensions=extensions)
        if self.flavor is None and time.monotonic() >= self._retry_at:
            self.flavor = server_flavor(GENERIC_FLAVOR)

    def note(self, question: httpx2.Request, response: httpx2.Response | None) -> None:
        """Take an answer to one of the questions; None came too late, and is asked for again in a minute."""
        if response is None:
            self._retry_at = time.monotonic() + RETRY_SECONDS
        elif response.status_code == 200:
            self._read(question.url.path, response.content)

    def learn(self, exchange: ServerExchange, response: httpx2.Response) -> httpx2.Response:
        """Read a list of models that somebody else asked for; returns the response."""
        path = exchange.request.url.path
        if self.flavor is None and path.endswith("/models") and response.status_code == 200:
            self._read(path, response.content)
        return response

    def _read(self, path: str, content: bytes) -> None:
        body = _parsed(content)
        if path.endswith("/models"):
            rows = body.get("data")
            owners = {
                row.get("owned_by")
                for row in (rows if isinstance(rows, list) else [])
                if isinstance(row, dict)
            }
            self.flavor = servers().owned_by({owner for owner in owners if isinstance(owner, str)})
        elif isinstance(paths := body.get("paths"), dict):
            self.flavor = servers().with_route(paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerExchange:
    """One request as it is sent, and how its answer is read.

    Attributes:
        request: What goes to the server.
        flavor: The server's software, if known.
        dropped: Names of what was left out of the request.
        refused: The answer to a request that is not sent at all.
    """

    request: httpx2.Request
    flavor: ServerFlavor | None
    dropped: list[str] = field(default_factory=list)
    refused: httpx2.Response | None = None

    @classmethod
    def of(cls, request: httpx2.Request, flavor: ServerFlavor | None) -> ServerExchange:
        """Translate a request, if it says anything that this server wants said otherwise."""
        if flavor is None or flavor.speaks_hosted or not _is_completion(request):
            return cls(request=request, flavor=flavor)
        if flavor.fields is None and not _says_it_the_hosted_way(request):
            return cls(request=request, flavor=flavor)
        body = _parsed(_content(request))
        if not body:
            return cls(request=request, flavor=flavor)
        try:
            translated = to_server(body, flavor)
        except UnsupportedRequestError as error:
            return cls(request=request, flavor=flavor, refused=_refused(str(error)))
        sent = with_body(request, json.dumps(translated.body).encode())
        return cls(request=sent, flavor=flavor, dropped=translated.dropped)

    def streams(self, response: httpx2.Response) -> bool:
        """Whether the answer is a stream of events that may need translation."""
        return response.status_code == 200 and is_event_stream(response) and _is_completion(self.request)

    def translates(self, response: httpx2.Response) -> bool:
        """Whether the answer is to be read as a whole and looked at."""
        route = _is_completion(self.request) or self.request.url.path.endswith("/models")
        return not is_event_stream(response) and (response.status_code >= 400 or route)

    def translated(self, response: httpx2.Response) -> httpx2.Response:
        """Return a whole answer, which has been read, in the hosted dialect."""
        status, content = reply_from_server(response.status_code, response.content, self.flavor)
        return self.marked(replaced(response, status=status, content=content))

    def marked(self, response: httpx2.Response) -> httpx2.Response:
        """Name what was left out of the request in a header of the response."""
        if self.dropped:
            response.headers[DROPPED_HEADER] = ", ".join(self.dropped)
        return response


def is_event_stream(response: httpx2.Response) -> bool:
    """Whether the body is a stream of server-sent events that can be read as it comes."""
    content_type = response.headers.get("content-type", "")
    return content_type.startswith("text/event-stream") and "content-encoding" not in response.headers


def replaced(
    response: httpx2.Response,
    *,
    status: int | None = None,
    content: bytes | None = None,
    stream: httpx2.SyncByteStream | httpx2.AsyncByteStream | None = None,
) -> httpx2.Response:
    """Return the response with another body; headers that described the old one are gone."""
    headers = [
        (name, value)
        for name, value in response.headers.multi_items()
        if name not in {"content-length", "content-encoding", "transfer-encoding"}
    ]
    return httpx2.Response(
        response.status_code if status is None else status,
        headers=headers,
        content=content,
        stream=stream,
        extensions=response.extensions,
    )


def _refused(message: str) -> httpx2.Response:
    headers = {"content-type": "application/json", BACKEND_HEADER: "server"}
    return httpx2.Response(400, headers=headers, content=refusal(message))


def _is_completion(request: httpx2.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith(TRANSLATED_ROUTES)


def _says_it_the_hosted_way(request: httpx2.Request) -> bool:
    content = _content(request) if _is_completion(request) else b""
    return any(marker in content for marker in REQUEST_MARKERS)


def _content(request: httpx2.Request) -> bytes:
    try:
        return request.content
    except httpx2.RequestNotRead:
        return b""


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
