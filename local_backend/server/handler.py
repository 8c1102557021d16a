"""The request handler: one function from request to response, for a socket or for none.

Routes and order of checks are the hosted API's. It never raises for bad input, and answers every request.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import replace

from local_backend.errors import LocalBackendError
from local_backend.server.auth import ApiKey, bearer_token
from local_backend.server.chat import answer_chat
from local_backend.server.fim import answer_fim
from local_backend.server.messages import Request, Response
from local_backend.server.model_pool import ModelPool
from local_backend.server.replies import JSON, HttpError, error_reply, plain_text, wrong_api_key
from local_backend.server.tokenize import answer_tokenize

__all__ = ["RequestHandler"]

_logger = logging.getLogger(__name__)
_BASES = ("/v1", "/beta")
_Route = Callable[[Request, str], Response]


class RequestHandler:
    """Answers the chat-completions dialect with local models.

    Args:
        models: What is served; the caller closes it.
        api_key: Asked of every request but `/health`; None asks for nothing.
        strict_reasoning: Answer the hosted 400 when a tool turn comes back without its
            `reasoning_content` in thinking mode; the default fills in an empty one.
    """

    def __init__(
        self, models: ModelPool, *, api_key: ApiKey | str | None = None, strict_reasoning: bool = False
    ) -> None:
        self._models = models
        self._api_key = ApiKey(api_key) if isinstance(api_key, str) else api_key
        self._strict_reasoning = strict_reasoning
        self._routes: dict[str, dict[str, _Route]] = {
            "/chat/completions": {"POST": self._chat},
            "/completions": {"POST": self._completions},
            "/tokenize": {"POST": self._tokenize},
            "/models": {"GET": self._list_models},
            "/health": {"GET": self._health},
        }

    @property
    def has_api_key(self) -> bool:
        """Whether requests must carry a key."""
        return self._api_key is not None

    def handle(self, request: Request) -> Response:
        """Answer a request; may be called from any thread, many at once.

        Returns at once, but for the first request to a model, which loads it. The generation runs while
        the response's body is read; closing the body cancels it.
        """
        trace_id = uuid.uuid4().hex
        try:
            response = self._dispatch(request, trace_id)
        except Exception as error:  # noqa: BLE001  (every request is answered)
            response = self._fail(error, trace_id)
        return _traced(response, trace_id)

    def _dispatch(self, request: Request, trace_id: str) -> Response:
        path = request.path.partition("?")[0]
        base = next((base for base in _BASES if path.startswith(f"{base}/")), "")
        methods = self._routes.get(path.removeprefix(base))
        if methods is None:
            raise plain_text(404, "")
        route = methods.get(request.method)
        if route is None:
            raise plain_text(405, "")
        if route != self._health:
            self._authenticate(request)
        if request.method == "POST":
            _require_json(request)
        return route(request, trace_id)

    def _authenticate(self, request: Request) -> None:
        if self._api_key is None:
            return
        token = bearer_token(request.headers)
        if token is None:
            raise plain_text(401, "Authentication Fails (governor)")
        if not self._api_key.matches(token):
            raise wrong_api_key(token)

    def _chat(self, request: Request, trace_id: str) -> Response:
        return answer_chat(
            request.body,
            self._models,
            lambda error: _traced(self._fail(error, trace_id), trace_id),
            strict_reasoning=self._strict_reasoning,
        )

    def _completions(self, request: Request, trace_id: str) -> Response:
        return answer_fim(
            request.body, self._models, lambda error: _traced(self._fail(error, trace_id), trace_id)
        )

    def _tokenize(self, request: Request, trace_id: str) -> Response:
        del trace_id
        return answer_tokenize(request.body, self._models)

    def _list_models(self, request: Request, trace_id: str) -> Response:
        del request, trace_id
        rows = [{"id": name, "object": "model", "owned_by": "local"} for name in self._models.names]
        return Response.of(200, json.dumps({"object": "list", "data": rows}).encode(), JSON)

    def _health(self, request: Request, trace_id: str) -> Response:
        del request, trace_id
        return Response.of(200, b'{"status":"ok"}', JSON)

    def _fail(self, error: Exception, trace_id: str) -> Response:
        reply = error_reply(error, trace_id)
        if not isinstance(error, HttpError) and reply.status >= 500:
            ours = isinstance(error, LocalBackendError)
            _logger.error("request %s failed: %s", trace_id, error, exc_info=None if ours else error)
        return reply


def _require_json(request: Request) -> None:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != JSON:
        raise plain_text(415, "Expected request with `Content-Type: application/json`")


def _traced(response: Response, trace_id: str) -> Response:
    return replace(response, headers=response.headers | {"x-ds-trace-id": trace_id})
