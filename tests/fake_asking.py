"""Ask a FakeDeepSeek with plain httpx2, so that tests see the bytes."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from deepseek_apps.testing import FakeDeepSeek

HI = [{"role": "user", "content": "Hi"}]
OFF = {"type": "disabled"}


def post(fake: FakeDeepSeek, path: str = "/chat/completions", **fields: Any) -> httpx2.Response:
    """Send a chat request with the right key."""
    body = {"model": "deepseek-flash", "messages": HI} | fields
    headers = {"authorization": f"Bearer {fake.api_key}"} if fake.api_key else {}
    # Without certificates to load, a client of its own for each request costs little.
    return httpx2.post(fake.url + path, json=body, headers=headers, trust_env=False, verify=False)


def refusal(fake: FakeDeepSeek, path: str = "/chat/completions", **fields: Any) -> str:
    """Return the text of the 400."""
    response = post(fake, path, **fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        None,
        "invalid_request_error",
    )
    return str(error["message"])


def events(response: httpx2.Response) -> list[dict[str, Any]]:
    """Return the chunks of a stream that ends as it should."""
    lines = [event for event in response.text.split("\n\n") if not event.startswith(":")]
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def deltas(response: httpx2.Response) -> list[dict[str, Any]]:
    """Return what each chunk of a stream adds."""
    return [chunk["choices"][0]["delta"] for chunk in events(response)]
