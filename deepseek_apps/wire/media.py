"""Images and files in messages: LangChain's, OpenAI's and Anthropic's forms to the two the API takes.

The API takes `image_url` parts (a URL or inline data) and `file` parts (an uploaded file's id, or inline
data). Audio, video and PDF are refused by name here, because the API either rejects the request or drops them
silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepseek_apps.catalog.catalog import catalogue
from deepseek_apps.errors import InvalidRequestError

__all__ = ["IMAGE_TYPES", "MEDIA_TYPES", "media_part", "refuse_images"]

IMAGE_TYPES = frozenset({"image", "image_url", "input_image"})
MEDIA_TYPES = IMAGE_TYPES | {
    "file", "input_file", "document", "media",
    "audio", "input_audio", "video", "video_url", "input_video",
}  # fmt: skip

# The first characters of each format's base64; enough to name inline data that came without a type.
_BASE64_STARTS = {
    "/9j/": "image/jpeg",
    "iVBORw0KGgo": "image/png",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
_DETAILS = ("low", "high", "original", "auto")


def media_part(block: Mapping[str, Any], *, images: bool, model: str) -> dict[str, Any]:
    """Return the wire part of a content block that is no text.

    Args:
        block: A block whose type is one of MEDIA_TYPES.
        images: Whether the model sees images. Where it does not, the API would drop them without a word.
        model: Its name, for the error.

    Raises:
        InvalidRequestError: The model sees no images, the API does not take this kind, or the block has no
            data.
    """
    kind = str(block.get("type"))
    mime_type = _mime_type(block)
    if kind not in IMAGE_TYPES and not mime_type.startswith("image/"):
        _refuse_kind(kind, mime_type)
    if not images:
        refuse_images(model)
    if kind in {"file", "input_file"} and isinstance(file := block.get("file"), Mapping):
        return {"type": "file", "file": dict(file)}
    return _located(block, mime_type)


def refuse_images(model: str) -> None:
    """Raise: this model does not see images.

    Raises:
        InvalidRequestError: Always, naming the models that do.
    """
    sighted = ", ".join(row.id for row in catalogue().models.values() if row.images)
    raise InvalidRequestError(
        f"{model or 'this model'} does not see images: the API would drop them silently",
        help_message=f"Use {sighted}, or take the images out of the messages.",
    )


def _refuse_kind(kind: str, mime_type: str) -> None:
    named = next((name for name in ("audio", "video", "pdf") if name in f"{kind} {mime_type}"), None)
    if named is None and kind in {"file", "input_file"}:
        return
    raise InvalidRequestError(
        f"the API takes no {(named or kind).upper() if named == 'pdf' else named or kind} in messages"
        f" (a content block of type {kind!r})",
        help_message="Extract the text first and send that; of media, only images are understood.",
    )


def _located(block: Mapping[str, Any], mime_type: str) -> dict[str, Any]:
    """Return the part for a block that says where its bytes are: an id, a URL or inline data."""
    source = block["source"] if isinstance(block.get("source"), Mapping) else block
    if file_id := source.get("file_id") or (source.get("id") if source.get("source_type") == "id" else None):
        return {"type": "file", "file": {"file_id": file_id}}
    url = _url(source)
    if data := source.get("base64") or source.get("data"):
        mime_type = mime_type or _sniff(str(data))
        url = f"data:{mime_type};base64,{data}"
        if not mime_type.startswith("image/"):
            name = block.get("filename") or _extras(block).get("filename")
            file = {"file_data": url, **({"filename": name} if name else {})}
            return {"type": "file", "file": file}
    if not url or not (mime_type.startswith("image/") or block.get("type") in IMAGE_TYPES):
        raise InvalidRequestError(
            f"a content block of type {block.get('type')!r} has no data the API can read",
            help_message="Give it a file_id or base64 data; images can also have a url.",
        )
    detail = block.get("detail") or _extras(block).get("detail") or _nested(block).get("detail")
    image = {"url": url, "detail": detail} if detail in _DETAILS else {"url": url}
    return {"type": "image_url", "image_url": image}


def _url(source: Mapping[str, Any]) -> str:
    direct = source.get("url") or source.get("image_url")
    return str(_nested(source).get("url", "")) if isinstance(direct, Mapping) else str(direct or "")


def _nested(block: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = block.get("image_url")
    return inner if isinstance(inner, Mapping) else {}


def _extras(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what LangChain keeps beside a block's own keys; v0 blocks call it metadata."""
    extras = block.get("extras") or block.get("metadata")
    return extras if isinstance(extras, Mapping) else {}


def _mime_type(block: Mapping[str, Any]) -> str:
    for holder in (block, block.get("source"), block.get("file")):
        if not isinstance(holder, Mapping):
            continue
        if named := holder.get("mime_type") or holder.get("media_type"):
            return str(named)
        data = holder.get("file_data")
        if isinstance(data, str) and data.startswith("data:"):
            return data[5:].partition(";")[0]
    return ""


def _sniff(data: str) -> str:
    for start, mime_type in _BASE64_STARTS.items():
        if data.startswith(start):
            return mime_type
    raise InvalidRequestError(
        "an inline image has no mime_type, and its first bytes are no JPEG, PNG, GIF or WebP",
        help_message='Add "mime_type": "image/png" (or what it is) to the block.',
    )
