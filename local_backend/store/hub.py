"""Fetch a model's file from the Hugging Face hub over HTTPS, going on where an earlier attempt stopped."""

from __future__ import annotations

import os
import time

import httpx2

from local_backend.errors import NetworkUnavailableError
from local_backend.store.model_rows import ModelRow
from local_backend.store.partial import PartialFile
from local_backend.store.progress import ProgressReporter

__all__ = ["fetch_from_hub", "hub_url"]

DEFAULT_ENDPOINT = "https://huggingface.co"
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
RETRY_SECONDS = 0.5
MAX_DROPS_WITHOUT_PROGRESS = 3


def hub_url(row: ModelRow) -> str:
    """Return the file's address; HF_ENDPOINT overrides the hub, as it does for huggingface_hub."""
    endpoint = os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    return f"{endpoint.rstrip('/')}/{row.hub_repo}/resolve/main/{row.filename}"


def fetch_from_hub(row: ModelRow, partial: PartialFile, reporter: ProgressReporter) -> None:
    """Append the missing bytes of row's file to partial.

    A connection that drops after it brought something is taken up again.

    Raises:
        NetworkUnavailableError: The hub cannot be reached, refuses, or serves another file.
        OSError: The bytes cannot be written.
    """
    url = hub_url(row)
    timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    drops = 0
    arrived = False
    with httpx2.Client(follow_redirects=True, timeout=timeout) as client:
        while partial.offset < row.bytes:
            before = partial.offset
            try:
                _stream(client, url, row, partial, reporter)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                progressed = partial.offset > before
                arrived = arrived or progressed
                drops = 0 if progressed else drops + 1
                if not arrived or drops > MAX_DROPS_WITHOUT_PROGRESS:
                    raise NetworkUnavailableError(_reason(error)) from error
                reporter.report("hub", partial.offset, f"connection lost ({_reason(error)}), going on")
                time.sleep(RETRY_SECONDS * 2**drops)


def _stream(
    client: httpx2.Client, url: str, row: ModelRow, partial: PartialFile, reporter: ProgressReporter
) -> None:
    headers = {"accept-encoding": "identity"}
    if partial.offset:
        headers["range"] = f"bytes={partial.offset}-"
    with client.stream("GET", url, headers=headers) as response:
        if response.is_error:
            raise NetworkUnavailableError(f"{response.url.host}: HTTP {response.status_code}")
        start, total = _extent(response)
        if total != row.bytes or start > partial.offset:
            raise NetworkUnavailableError(
                f"{response.url.host} offers {total} bytes from {start}, expected {row.bytes} (a login page?)"
            )
        before = partial.offset
        skip = before - start
        for chunk in response.iter_raw():
            partial.write(chunk[skip:])
            skip = max(0, skip - len(chunk))
            reporter.report("hub", partial.offset)
        if partial.offset == before:
            raise NetworkUnavailableError(f"{response.url.host} sent nothing")


def _extent(response: httpx2.Response) -> tuple[int, int]:
    """Return (first byte sent, size of the whole file); size -1 when the answer does not tell."""
    try:
        if response.status_code == httpx2.codes.PARTIAL_CONTENT:
            span, _, total = response.headers["content-range"].removeprefix("bytes ").partition("/")
            return int(span.partition("-")[0]), int(total)
        return 0, int(response.headers["content-length"])
    except (KeyError, ValueError):
        return 0, -1


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
