"""For tests of programs that use DeepSeek: `FakeDeepSeek`, a real loopback server, and `ScriptedChatModel`.

Nothing here needs a key, a network or a model. See docs/testing.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepseek_apps.testing.fake import FakeDeepSeek
from deepseek_apps.testing.replies import RawReply, Reply
from deepseek_apps.testing.requests import Request
from deepseek_apps.testing.schemas import fill_schema

if TYPE_CHECKING:
    from deepseek_apps.testing.scripted_model import ScriptedChatModel, ScriptUsedUpError

__all__ = [
    "FakeDeepSeek",
    "RawReply",
    "Reply",
    "Request",
    "ScriptUsedUpError",
    "ScriptedChatModel",
    "fill_schema",
]


def __getattr__(name: str) -> object:
    if name not in ("ScriptedChatModel", "ScriptUsedUpError"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Lazy: LangChain takes a second, and a test of the SDK alone does without it.
    from deepseek_apps.testing import scripted_model  # noqa: PLC0415

    return getattr(scripted_model, name)
