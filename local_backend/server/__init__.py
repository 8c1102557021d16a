"""The chat-completions dialect over local models, with a socket (`serve`) or without one (`handle`)."""

from __future__ import annotations

from local_backend.server.auth import ApiKey
from local_backend.server.handler import RequestHandler
from local_backend.server.launch import serve
from local_backend.server.messages import ByteStream, Request, Response
from local_backend.server.model_pool import ModelPool

__all__ = ["ApiKey", "ByteStream", "ModelPool", "Request", "RequestHandler", "Response", "serve"]
