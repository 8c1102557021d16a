"""A request on its way to a server, and what most servers name differently: thinking and its effort."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deepseek_apps.catalog.servers import ServerFlavor

__all__ = ["ServerRequest", "UnsupportedRequestError", "translate_thinking"]


class UnsupportedRequestError(ValueError):
    """The server cannot do what is asked, and its answer would be wrong without it."""


@dataclass(slots=True)
class ServerRequest:
    """A body on its way to a server.

    Attributes:
        body: What is sent; never shares a changed part with the caller's.
        flavor: Whom it is for.
        dropped: Names of what was left out.
    """

    body: dict[str, Any]
    flavor: ServerFlavor
    dropped: list[str] = field(default_factory=list)

    def drop(self, name: str) -> None:
        """Leave out a field, and say so."""
        if name in self.body:
            del self.body[name]
            self.dropped.append(name)

    def template_arguments(self) -> dict[str, Any]:
        """Return the arguments of the chat template, which the caller may have given some of."""
        given = self.body.get("chat_template_kwargs")
        self.body["chat_template_kwargs"] = dict(given) if isinstance(given, dict) else {}
        arguments: dict[str, Any] = self.body["chat_template_kwargs"]
        return arguments


def translate_thinking(request: ServerRequest) -> None:
    """Say in the server's way whether, and how hard, to think."""
    body, style = request.body, request.flavor.thinking
    if style == "hosted" or not {"thinking", "reasoning_effort"} & body.keys():
        return
    enabled = _wants_thinking(body.get("thinking"), body.get("reasoning_effort"))
    if style == "none":
        for name in ("thinking", "reasoning_effort"):
            body.pop(name, None) if enabled is False else request.drop(name)
        return
    body.pop("thinking", None)
    if style == "effort":
        _thinking_by_effort(body, enabled)
    else:
        _thinking_by_template(request, enabled)


def _wants_thinking(thinking: object, effort: object) -> bool | None:
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind == "disabled" or (kind is None and effort == "none"):
        return False
    return True if kind is not None or effort is not None else None


def _thinking_by_effort(body: dict[str, Any], enabled: bool | None) -> None:
    if enabled is False:
        body["reasoning_effort"] = "none"
    elif enabled and body.get("reasoning_effort") in {None, "none"}:
        body["reasoning_effort"] = "high"  # the hosted default


def _thinking_by_template(request: ServerRequest, enabled: bool | None) -> None:
    effort = request.body.get("reasoning_effort")
    efforts = request.flavor.efforts
    if not enabled or effort in {None, "none"} or (efforts is not None and effort not in efforts):
        request.body.pop("reasoning_effort", None)
    if enabled is None:
        return
    arguments = request.template_arguments()
    # Templates disagree about the name: DeepSeek's read the first, Qwen's and GLM's the second.
    arguments.setdefault("thinking", enabled)
    arguments.setdefault("enable_thinking", enabled)
    if enabled and effort not in {None, "none"}:
        arguments.setdefault("reasoning_effort", effort)
