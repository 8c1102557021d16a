"""Which prompt family a model belongs to: a decision over its text assets, never over its name."""

from __future__ import annotations

from local_backend.errors import UnsupportedModelError
from local_backend.families.base import Family, Normaliser, RenderedPrompt
from local_backend.families.chatml import ChatMLFamily
from local_backend.families.text_assets import TextAssets
from local_backend.families.tokenizer import Tokenizer

__all__ = ["Family", "Normaliser", "RenderedPrompt", "family_for"]


def family_for(assets: TextAssets, tokenizer: Tokenizer) -> Family:
    """Choose the family of a model.

    A model that carries a chat template is rendered by it, with tool calls in the Hermes form.

    Raises:
        UnsupportedModelError: There is no chat template, or it is not valid jinja.
    """
    if not assets.chat_template:
        raise UnsupportedModelError(
            f"{assets.name!r} has no chat template, so it is not known how to talk to it",
            help_message="Use an instruction-tuned ('Instruct', 'Chat') file of the model.",
        )
    return ChatMLFamily(assets, tokenizer)
