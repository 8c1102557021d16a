"""The files API, as much of it as a client needs to be tested: upload, list, get, delete. Kept in memory."""

from __future__ import annotations

import itertools
import threading
import time
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qs

from deepseek_apps.testing._shapes import dump
from deepseek_apps.testing.failures import HttpError, invalid_request, json_error
from deepseek_apps.testing.replies import RawReply
from deepseek_apps.testing.requests import Request

__all__ = ["FileStore"]

_PURPOSES = ("user_data", "text_recognition", "rich_layout_recognition")
_EXPIRY = range(3_600, 2_592_001)


class FileStore:
    """Uploaded files. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._files: dict[str, dict[str, Any]] = {}

    def answer(self, request: Request) -> RawReply:
        """Answer a request under /files.

        Raises:
            HttpError: The upload is not as documented, there is no such file, or the method is wrong.
        """
        name = request.route.removeprefix("/files").strip("/")
        if request.method == "POST" and not name:
            return _json(self._upload(request))
        if request.method == "GET" and not name:
            return _json(self._list(request))
        if request.method == "GET":
            return _json(self._get(name))
        if request.method == "DELETE" and name:
            return _json(self._delete(name))
        raise HttpError(RawReply(status=405, content_type=""))

    def _upload(self, request: Request) -> dict[str, Any]:
        parts = _parts(request)
        if not parts or parts[0][0] != "purpose":
            raise invalid_request("The field `purpose` must come before the field `file`")
        texts = {name: data.decode(errors="replace") for name, filename, data in parts if filename is None}
        if texts["purpose"] not in _PURPOSES:
            raise invalid_request(f"Invalid purpose, expected one of {', '.join(_PURPOSES)}")
        uploads = [(filename, data) for _, filename, data in parts if filename is not None]
        if not uploads:
            raise invalid_request("missing field `file`")
        filename, data = uploads[0]
        with self._lock:
            row: dict[str, Any] = {
                "id": f"file-api-{next(self._numbers):024d}",
                "object": "file",
                "bytes": len(data),
                "created_at": int(time.time()),
                "filename": filename,
                "purpose": texts["purpose"],
            }
            if seconds := _expiry(texts):
                row["expires_at"] = row["created_at"] + seconds
            self._files[row["id"]] = row
        return row

    def _list(self, request: Request) -> dict[str, Any]:
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        with self._lock:
            rows = list(self._files.values())
        if query.get("order", "desc") == "desc":
            rows.reverse()
        rows = [row for row in rows if query.get("purpose") in (None, row["purpose"])]
        ids = [row["id"] for row in rows]
        start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
        limit = int(query.get("limit", "1000"))
        return {
            "object": "list",
            "data": rows[start : start + limit],
            "has_more": len(rows) > start + limit,
        }

    def _get(self, name: str) -> dict[str, Any]:
        with self._lock:
            if name in self._files:
                return self._files[name]
        raise HttpError(json_error(404, f"No such File object: {name}"))

    def _delete(self, name: str) -> dict[str, Any]:
        self._get(name)
        with self._lock:
            self._files.pop(name, None)
        return {"id": name, "object": "file", "deleted": True}


def _json(value: dict[str, Any]) -> RawReply:
    return RawReply(parts=(dump(value),))


def _expiry(texts: dict[str, str]) -> int:
    given = texts.get("expires_after[seconds]")
    if given is None:
        return 0
    if not given.isdecimal() or int(given) not in _EXPIRY:
        raise invalid_request(
            f"Invalid expires_after.seconds value, the valid range is [{_EXPIRY.start}, {_EXPIRY.stop - 1}]"
        )
    return int(given)


def _parts(request: Request) -> list[tuple[str, str | None, bytes]]:
    """Return field name, file name and content of each part of a multipart body, in order."""
    head = f"content-type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    message: Message = BytesParser(policy=HTTP).parsebytes(head + request.raw)
    if not message.is_multipart():
        raise invalid_request("Expected a multipart/form-data body")
    parts = []
    for part in message.get_payload():
        if isinstance(part, Message):
            name = str(part.get_param("name", "", "content-disposition"))
            data = part.get_payload(decode=True)
            parts.append((name, part.get_filename(), data if isinstance(data, bytes) else b""))
    return parts
