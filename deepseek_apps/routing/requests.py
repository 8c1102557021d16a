"""Requests addressed anew: the same call to another backend, and the small ones the router makes itself."""

from __future__ import annotations

import json

import httpx2

__all__ = ["addressed", "errand_request", "served_names"]

# Prefixes that mean the same API on every backend.
VERSION_PREFIXES = (b"/v1/", b"/beta/")
# Set anew for each address, or meant for this process only.
OWN_HEADERS = {"host", "content-length", "transfer-encoding"}
PRIVATE_PREFIX = "x-deepseek-apps-"
ERRAND_SECONDS = 1.0


def addressed(request: httpx2.Request, old_base: str, new_base: str, content: bytes) -> httpx2.Request:
    """Return a request like another, for a second base address; the first is left as it is.

    Args:
        request: Addressed below `old_base`.
        old_base, new_base: Base addresses, with their path prefixes such as /v1.
        content: The body to send.
    """
    path, question, query = request.url.raw_path.partition(b"?")
    old, new = httpx2.URL(old_base), httpx2.URL(new_base)
    relative = _relative(path, old.raw_path.rstrip(b"/") + b"/")
    url = new.copy_with(raw_path=new.raw_path.rstrip(b"/") + b"/" + relative + question + query)
    headers = [
        (name, value)
        for name, value in request.headers.multi_items()
        if name not in OWN_HEADERS and not name.startswith(PRIVATE_PREFIX)
    ]
    return httpx2.Request(
        request.method, url, headers=headers, content=content or None, extensions=dict(request.extensions)
    )


def errand_request(base_url: str, request: httpx2.Request) -> httpx2.Request:
    """Return a GET /models with a short time-out, on behalf of a request."""
    base = httpx2.URL(base_url)
    timeouts = request.extensions.get("timeout", {})
    short = {
        name: min(timeouts.get(name) or ERRAND_SECONDS, ERRAND_SECONDS)
        for name in ("connect", "read", "write", "pool")
    }
    url = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + b"/models")
    return httpx2.Request("GET", url, extensions={"timeout": short})


def served_names(status: int, content: bytes) -> list[str] | None:
    """Return the model names in a reply to GET /models; None if it says that the server is not well.

    Many servers answer GET /models without a key and some not at all: any status below 500 is a sign of life.
    """
    if status >= 500:
        return None
    try:
        rows = json.loads(content)["data"]
        return [row["id"] for row in rows if isinstance(row["id"], str)]
    except (ValueError, KeyError, TypeError):
        return []


def _relative(path: bytes, base: bytes) -> bytes:
    """Cut the base path off, or else the prefix of a version that the caller chose."""
    prefixes = [base, *VERSION_PREFIXES] if base != b"/" else list(VERSION_PREFIXES)
    for prefix in prefixes:
        if path.startswith(prefix):
            return path[len(prefix) :]
    return path.lstrip(b"/")
