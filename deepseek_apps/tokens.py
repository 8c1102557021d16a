"""Exact token counts, offline: DeepSeek's own prompt format and its own tokenizer.

For hosted models the count is that of the prompt the API makes of a request, markup, tools and effort
included. For other backends `count_with_backend` asks the backend. The first count of a process loads the
vocabulary, which takes half a second.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deepseek_apps._hosted_prompt import image_parts, plain_text, render_prompt
from deepseek_apps._tokenizer import count_plain, encode_plain
from deepseek_apps.catalog.prompts import PromptFacts, prompt_facts

if TYPE_CHECKING:
    import httpx2

    from deepseek_apps.backend_client import BackendClient

__all__ = ["count_body", "count_text", "count_tokens", "count_with_backend", "token_ids"]


_REFUSED = (400, 422)


def token_ids(text: str) -> list[int]:
    """Return the tokens of a text in DeepSeek's vocabulary (V3 and later).

    The text is plain: what spells a control token, such as `<｜User｜>`, is several tokens.
    """
    return encode_plain(text)


def count_text(text: str) -> int:
    """Count the tokens of a text; see `token_ids`."""
    return count_plain([text])


def count_tokens(
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    model: str,
    thinking: bool | None = None,
    reasoning_effort: str | None = None,
    response_format: Mapping[str, Any] | None = None,
) -> int:
    """Count the prompt of a hosted request: what its `usage.prompt_tokens` will be.

    Args:
        messages: As in a request, `{"role": …, "content": …}`.
        tools: As in a request, `{"type": "function", "function": …}`.
        model: Hosted model; of a name that is none, the default hosted model's format is taken.
        thinking: None is the API's default, on.
        reasoning_effort: None is the API's default, "high".
        response_format: As in a request.

    Returns:
        Tokens. An image costs what its size says if it is in the message, and the most one can if only its
        address is. A request that the API would refuse is counted all the same.
    """
    body: dict[str, Any] = {
        "messages": list(messages),
        "tools": list(tools) if tools else None,
        "reasoning_effort": reasoning_effort,
        "response_format": response_format,
    }
    if thinking is not None:
        body["thinking"] = {"type": "enabled" if thinking else "disabled"}
    return count_body({"model": model, **body})


def count_body(body: Mapping[str, Any]) -> int:
    """Count the prompt of a whole request body of the hosted dialect; see `count_tokens`."""
    facts = prompt_facts(str(body.get("model") or ""))
    rendered = render_prompt(body, facts)
    prompt, pieces, end = rendered.prompt, [], 0
    for start, stop in rendered.special_ranges:
        pieces.append(prompt[end:start])
        end = stop
    pieces.append(prompt[end:])
    # A placeholder has been counted for each.
    images = sum(_image_tokens(part, facts) - 1 for part in image_parts(body)) if facts.image_tokens else 0
    return count_plain(pieces) + len(rendered.special_ranges) + images


def count_with_backend(client: BackendClient, body: Mapping[str, Any]) -> int:
    """Count the prompt of a chat request with the tokenizer of whoever would answer it.

    The hosted API has no route for it and is not asked: its count is made here. The embedded engine and vLLM
    have one. A conversation that they refuse, such as half a tool loop, is counted as plain text; where there
    is no such route, DeepSeek's own tokenizer is taken. Both are then estimates.

    Raises:
        httpx2.HTTPError: The server cannot be reached.
    """
    if client.backend.name == "hosted":
        return count_body(body)
    fields = ("model", "messages", "tools", "tool_choice", "thinking", "reasoning_effort", "response_format")
    asked = {name: body[name] for name in fields if body.get(name) is not None}
    # Our server has the route under every base, vLLM beside `/v1`.
    root = str(client.base_url).rstrip("/").removesuffix("/v1")
    response = client.post(f"{root}/tokenize", json=asked)
    if response.status_code in _REFUSED:
        plain = {"model": asked.get("model"), "prompt": plain_text(body)}
        response = client.post(f"{root}/tokenize", json=plain)
    count = _count_in(response)
    return count_body(body) if count is None else count


def _count_in(response: httpx2.Response) -> int | None:
    if not response.is_success:
        return None
    try:
        count = response.json().get("count")
    except (ValueError, AttributeError):
        return None
    return count if isinstance(count, int) else None


def _image_tokens(part: Mapping[str, Any], facts: PromptFacts) -> int:
    """Return what an image costs: by its size if it is here, else the most that one can."""
    # Lazy: a native library of its own.
    from deepseek_recipe import (  # noqa: PLC0415
        CalcResizeError,
        ImageError,
        MultiModalData,
        OpenCvImagePreprocessor,
        PreprocessOptions,
    )

    source = part.get("image_url")
    source = source if isinstance(source, Mapping) else {"url": source or part.get("file_data")}
    data = _inline_bytes(str(source.get("url") or ""))
    detail = source.get("detail") if source.get("detail") in ("low", "high", "original") else "auto"
    options = PreprocessOptions(detail, facts.image_edge, facts.image_low_edge)  # type: ignore[arg-type]
    try:
        image = OpenCvImagePreprocessor().preprocess(data, options)
        return MultiModalData([image]).image_token_adjustment() + 1
    except (ImageError, CalcResizeError):
        return facts.image_tokens


def _inline_bytes(url: str) -> bytes:
    header, _, data = url.partition(",")
    if not header.startswith("data:") or not header.endswith(";base64"):
        return b""
    try:
        return base64.b64decode(data)
    except (binascii.Error, ValueError):
        return b""
