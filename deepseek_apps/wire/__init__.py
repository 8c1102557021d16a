"""LangChain's messages, tools and schemas to DeepSeek's dialect and back. Pure functions: no I/O, no SDK."""

from __future__ import annotations

from deepseek_apps.wire.messages import ReasoningEcho, to_wire
from deepseek_apps.wire.replies import ChunkReader, message_of

__all__ = ["ChunkReader", "ReasoningEcho", "message_of", "to_wire"]
