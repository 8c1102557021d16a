"""What ChatDeepSeek's model can do, from the catalogue: for LangChain's agents, and for what may be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import ModelProfile

from deepseek_apps.backends import LocalBackend
from deepseek_apps.catalog import HostedModel, catalogue
from deepseek_apps.routing.routed import targets_of

if TYPE_CHECKING:
    from deepseek_apps.chat_model import ChatDeepSeek

__all__ = ["profile", "takes_images"]


def profile(model: ChatDeepSeek) -> ModelProfile:
    """Return what the model can do, for LangChain's agents and middleware.

    `structured_output` is False although `with_structured_output` works: it would make `create_agent` send
    tools and a JSON format together, and the API's JSON mode blanks all that is not JSON.
    """
    known: dict[str, Any] = {
        "text_inputs": True,
        "text_outputs": True,
        "tool_calling": True,
        "tool_choice": True,
        "tool_call_streaming": True,
        "structured_output": False,
        "image_inputs": False,
        "audio_inputs": False,
        "video_inputs": False,
        "pdf_inputs": False,
    }
    if facts := _hosted_model(model, model.model_name):
        known |= _hosted_profile(facts)
    elif context := _own_context(model):
        known["max_input_tokens"] = context
    return cast(ModelProfile, known)


def _hosted_profile(facts: HostedModel) -> dict[str, Any]:
    return {
        "name": facts.checkpoint,
        "max_input_tokens": facts.context,
        "max_output_tokens": facts.max_output,
        "image_inputs": facts.images,
        "image_url_inputs": facts.images,
        "image_tool_message": facts.images,
        "reasoning_output": facts.thinking,
        "reasoning_effort_levels": ["low", "high", "max"],
        "reasoning_effort_default": "high",
        "temperature": True,
    }


def _own_context(model: ChatDeepSeek) -> int | None:
    """Return the context of a model here or on a server, as far as it is known without asking or loading."""
    target = targets_of(model.root_client._backend)[0]
    backend = target.replicas[0]
    return target.context or (backend.context() if isinstance(backend, LocalBackend) else None)


def _hosted_model(model: ChatDeepSeek, name: str) -> HostedModel | None:
    if model.root_client.backend_name != "hosted":
        return None
    facts = catalogue()
    wanted = name or facts.default_model
    return facts.models.get(facts.aliases.get(wanted, wanted))


def takes_images(model: ChatDeepSeek, name: str) -> bool:
    """Whether images may be sent: to models that see them, and to servers, which say so if they do not."""
    if facts := _hosted_model(model, name):
        return facts.images
    return bool(model.root_client.backend_name != "local")
