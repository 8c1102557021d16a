"""client.files against the API's rules for uploads: `purpose` first, then `file`."""

from __future__ import annotations

import json
import re

from fake_deepseek import FakeDeepSeek, Reply

from deepseek_apps import AsyncDeepSeek, DeepSeek

FILE = {
    "id": "file-api-1", "object": "file", "bytes": 3, "created_at": 1790000000, "filename": "a.png",
    "purpose": "user_data", "status": "processed",
}  # fmt: skip


def reply(body: object) -> Reply:
    return Reply((json.dumps(body).encode(),))


def parts(upload: bytes) -> list[str]:
    """The names of a multipart body, in order."""
    return [name.decode() for name in re.findall(rb'form-data; name="([^"]+)"', upload)]


def test_an_upload_names_its_purpose_first(fake: FakeDeepSeek) -> None:
    fake.script.append(reply(FILE))
    with DeepSeek(backend="hosted", base_url=fake.url, api_key="sk") as client:
        made = client.files.create(
            file=("a.png", b"123", "image/png"),
            purpose="user_data",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
    assert made.id == "file-api-1"
    assert fake.asked[0].path == "/files"
    names = parts(fake.asked[0].body)
    assert names[0] == "purpose"
    assert sorted(names) == ["expires_after[anchor]", "expires_after[seconds]", "file", "purpose"]
    assert fake.asked[0].headers["content-type"].startswith("multipart/form-data; boundary=")


async def test_an_upload_names_its_purpose_first_asynchronously(fake: FakeDeepSeek) -> None:
    fake.script.append(reply(FILE))
    async with AsyncDeepSeek(backend="hosted", base_url=fake.url, api_key="sk") as client:
        await client.files.create(file=("a.png", b"123"), purpose="user_data")
    assert parts(fake.asked[0].body) == ["purpose", "file"]


def test_files_are_listed_and_deleted(fake: FakeDeepSeek) -> None:
    fake.script += [
        reply({"object": "list", "data": [FILE], "has_more": False}),
        reply({"id": "file-api-1", "object": "file", "deleted": True}),
    ]
    with DeepSeek(backend="hosted", base_url=fake.url, api_key="sk") as client:
        assert [file.id for file in client.files.list(limit=2, order="desc")] == ["file-api-1"]
        assert client.files.delete("file-api-1").deleted
    assert [asked.path for asked in fake.asked] == ["/files?limit=2&order=desc", "/files/file-api-1"]
