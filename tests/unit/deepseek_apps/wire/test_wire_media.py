"""Images and files in messages."""

from __future__ import annotations

import deepseek_recipe as recipe
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from deepseek_apps.errors import InvalidRequestError
from deepseek_apps.wire import to_wire

PNG = "iVBORw0KGgo="
DATA_URL = f"data:image/png;base64,{PNG}"
URL = "https://example.com/a.png"


def part(block):
    (message,) = to_wire([HumanMessage([block])])
    (only,) = message["content"]
    return only


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": URL},
        {"type": "image", "source_type": "url", "url": URL},
        {"type": "image", "source": {"type": "url", "url": URL}},
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": URL},
        {"type": "input_image", "image_url": URL},
        {"type": "non_standard", "value": {"type": "image_url", "image_url": {"url": URL}}},
    ],
)
def test_image_urls(block) -> None:
    assert part(block) == {"type": "image_url", "image_url": {"url": URL}}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "base64": PNG, "mime_type": "image/png"},
        {"type": "image", "base64": PNG},
        {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image_url", "image_url": {"url": DATA_URL}},
        {"type": "file", "base64": PNG, "mime_type": "image/png"},
    ],
)
def test_inline_images(block) -> None:
    assert part(block) == {"type": "image_url", "image_url": {"url": DATA_URL}}


@pytest.mark.parametrize(
    ("block", "file"),
    [
        ({"type": "image", "file_id": "file-api-1"}, {"file_id": "file-api-1"}),
        ({"type": "image", "source_type": "id", "id": "file-api-1"}, {"file_id": "file-api-1"}),
        ({"type": "file", "file_id": "file-api-1"}, {"file_id": "file-api-1"}),
        ({"type": "file", "file": {"file_data": "x", "filename": "a"}}, {"file_data": "x", "filename": "a"}),
    ],
)
def test_files(block, file) -> None:
    assert part(block) == {"type": "file", "file": file}


def test_detail_is_kept() -> None:
    assert part({"type": "image", "url": URL, "extras": {"detail": "low"}})["image_url"]["detail"] == "low"
    assert part({"type": "image_url", "image_url": {"url": URL, "detail": "high"}})["image_url"] == {
        "url": URL,
        "detail": "high",
    }


@pytest.mark.parametrize("message", [HumanMessage, lambda blocks: ToolMessage(blocks, tool_call_id="c")])
def test_a_model_that_sees_nothing_names_one_that_does(message) -> None:
    with pytest.raises(InvalidRequestError, match="deepseek-v4-pro does not see images") as caught:
        to_wire([message([{"type": "image", "url": URL}])], images=False, model="deepseek-v4-pro")
    assert "deepseek-flash" in caught.value.help_message


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ({"type": "audio", "base64": "x", "mime_type": "audio/wav"}, "audio"),
        ({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}, "audio"),
        ({"type": "video", "url": "https://x"}, "video"),
        ({"type": "file", "base64": "x", "mime_type": "application/pdf"}, "PDF"),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,x"}}, "PDF"),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}}, "PDF"),
        ({"type": "file", "url": "https://x/y.txt"}, "no data the API can read"),
        ({"type": "image", "base64": "????"}, "no mime_type"),
        ({"type": "hologram"}, "hologram"),
    ],
)
def test_what_the_api_does_not_take_is_refused_by_name(block, named) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        part(block)


def test_documents_of_text_are_text() -> None:
    (message,) = to_wire([HumanMessage([{"type": "document", "source": {"type": "text", "data": "d"}}])])
    assert message["content"] == "d"


def test_images_from_assistants_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="assistant"):
        to_wire([AIMessage([{"type": "image", "url": URL}])])


def test_deepseeks_own_parser_takes_the_parts() -> None:
    blocks = [{"type": "text", "text": "what?"}, {"type": "image", "base64": PNG, "mime_type": "image/png"}]
    call = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "c"}])
    messages = to_wire([HumanMessage(blocks), call, ToolMessage(blocks, tool_call_id="c")])
    request = recipe.ChatCompletionRequest({"model": "DeepSeek-V4.1-Flash", "messages": messages})
    conversation = request.convert(recipe.ConversionOptions()).conversation
    assert [len(message.image_sources) for message in conversation.messages] == [1, 0, 1]
