"""The content of messages: strings and blocks of every dialect to what the API takes for each role.

Assistant messages are always one string. Other roles are a string when they hold only text, else a list of
parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepseek_apps.errors import InvalidRequestError
from deepseek_apps.wire.media import IMAGE_TYPES, MEDIA_TYPES, media_part
from deepseek_apps.wire.text import clean_text, json_text

__all__ = ["assistant_text", "blocks_of", "input_content", "reasoning_text", "tool_content"]

# What the API puts between text parts; joining them here gives the model the same prompt.
_PART_SEPARATOR = "\n\n"
_TEXT_TYPES = frozenset({"text", "text-plain", "input_text", "output_text"})

Content = str | Sequence[str | Mapping[str, Any]] | None


def blocks_of(content: Content) -> Iterator[Mapping[str, Any]]:
    """Yield the blocks of a message's content; a string is one text block."""
    if isinstance(content, str):
        if content:
            yield {"type": "text", "text": content}
        return
    for item in content or ():
        if isinstance(item, str):
            yield {"type": "text", "text": item}
        elif item.get("type") == "non_standard" and isinstance(item.get("value"), Mapping):
            yield item["value"]
        else:
            yield item


def assistant_text(content: Content) -> str:
    """Return what an assistant said, without reasoning, calls and other providers' own blocks.

    Blocks are joined as they are, because streaming cuts them anywhere.

    Raises:
        InvalidRequestError: The message holds an image; the API refuses those from assistants.
    """
    if isinstance(content, str):
        return clean_text(content)
    texts = []
    for block in blocks_of(content):
        if block.get("type") in IMAGE_TYPES:
            raise InvalidRequestError(
                "the API takes no image in an assistant message",
                help_message="Put the image into a user message.",
            )
        if (text := _text_of(block)) is not None:
            texts.append(text)
        elif block.get("type") == "refusal":
            texts.append(str(block.get("refusal") or ""))
    return clean_text("".join(texts))


def reasoning_text(content: Content) -> str:
    """Return the reasoning in a message's blocks, in LangChain's, Anthropic's, OpenAI's or Bedrock's form."""
    if isinstance(content, str) or not content:
        return ""
    return "".join(_reasoning_of(block) for block in blocks_of(content))


def input_content(content: Content, *, images: bool, model: str) -> str | list[dict[str, Any]]:
    """Return the content of a system or user message.

    Raises:
        InvalidRequestError: A block is of a kind that the API or the model cannot read.
    """
    if isinstance(content, str):
        return clean_text(content)
    return _folded([_input_part(block, images=images, model=model) for block in blocks_of(content)])


def tool_content(content: Content, *, images: bool, model: str) -> str | list[dict[str, Any]]:
    """Return the content of a tool's result; blocks of an unknown kind are data, and go as JSON.

    Raises:
        InvalidRequestError: The result holds an image and the model sees none.
    """
    if isinstance(content, str):
        return clean_text(content)
    return _folded([_tool_part(block, images=images, model=model) for block in blocks_of(content)])


def _folded(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if all(part["type"] == "text" for part in parts):
        return _PART_SEPARATOR.join(part["text"] for part in parts)
    return parts


def _input_part(block: Mapping[str, Any], *, images: bool, model: str) -> dict[str, Any]:
    if (text := _text_of(block)) is not None:
        return {"type": "text", "text": clean_text(text)}
    if block.get("type") in MEDIA_TYPES:
        return media_part(block, images=images, model=model)
    raise InvalidRequestError(
        f"the API takes no content block of type {block.get('type')!r}",
        help_message="Send text, and images to models that see them.",
    )


def _tool_part(block: Mapping[str, Any], *, images: bool, model: str) -> dict[str, Any]:
    if (text := _text_of(block)) is not None:
        return {"type": "text", "text": clean_text(text)}
    if block.get("type") in IMAGE_TYPES:
        return media_part(block, images=images, model=model)
    return {"type": "text", "text": json_text(block)}


def _text_of(block: Mapping[str, Any]) -> str | None:
    """Return a text block's text; None for every other kind of block."""
    kind = block.get("type")
    if kind in _TEXT_TYPES or (kind is None and "text" in block):
        return str(block.get("text") or "")
    source = block.get("source")
    if kind == "document" and isinstance(source, Mapping) and source.get("type") == "text":
        return str(source.get("data") or "")
    return None


def _reasoning_of(block: Mapping[str, Any]) -> str:
    kind = block.get("type")
    if kind == "thinking":
        return str(block.get("thinking") or "")
    if kind == "reasoning_content":
        inner = block.get("reasoning_content")
        return str(inner.get("text") or "") if isinstance(inner, Mapping) else str(inner or "")
    if kind != "reasoning":
        return ""
    if text := block.get("reasoning"):
        return str(text)
    summaries = block.get("summary") or block.get("content") or ()
    return _PART_SEPARATOR.join(
        str(part.get("text") or "") for part in summaries if isinstance(part, Mapping)
    )
