"""Routes, keys, balance, completions and files of the fake."""

from __future__ import annotations

import httpx2
import openai
import pytest
from fake_asking import HI, post, refusal

from deepseek_apps.testing import FakeDeepSeek


def ask(fake: FakeDeepSeek, method: str, path: str, key: str | None = None) -> httpx2.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx2.request(method, fake.url + path, headers=headers, trust_env=False, verify=False)


@pytest.mark.parametrize("base", ["", "/v1", "/beta"])
def test_models_under_every_base(fake: FakeDeepSeek, base: str) -> None:
    assert ask(fake, "GET", f"{base}/models", fake.api_key).json() == {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "owned_by": "deepseek"}
            for name in ("deepseek-flash", "deepseek-v4-pro")
        ],
    }
    assert fake.requests[0].base == base
    assert fake.requests[0].route == "/models"


def test_keys(fake: FakeDeepSeek) -> None:
    missing = ask(fake, "GET", "/models")
    assert (missing.status_code, missing.text) == (401, "Authentication Fails (governor)")
    wrong = ask(fake, "GET", "/models", "sk-other-9876")
    assert (wrong.status_code, wrong.json()["error"]) == (
        401,
        {
            "message": "Authentication Fails, Your api key: ****9876 is invalid",
            "type": "authentication_error",
            "param": None,
            "code": "invalid_request_error",
        },
    )
    with FakeDeepSeek(api_key="") as open_to_all:
        assert ask(open_to_all, "GET", "/models").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/v1/v1/models", 404),
        ("POST", "/embeddings", 404),
        ("GET", "/chat/completions", 405),
        ("DELETE", "/models", 405),
    ],
)
def test_wrong_paths_and_methods_have_empty_bodies(
    fake: FakeDeepSeek, method: str, path: str, status: int
) -> None:
    response = ask(fake, method, path, fake.api_key)
    assert (response.status_code, response.content) == (status, b"")


def test_the_balance_and_what_happens_without_one(fake: FakeDeepSeek) -> None:
    assert ask(fake, "GET", "/user/balance", fake.api_key).json() == {
        "is_available": True,
        "balance_infos": [
            {
                "currency": "CNY",
                "total_balance": "110.00",
                "granted_balance": "0.00",
                "topped_up_balance": "110.00",
            }
        ],
    }
    fake.configure(balance="0.00")
    assert ask(fake, "GET", "/user/balance", fake.api_key).json()["is_available"] is False
    assert post(fake).status_code == 402


def test_other_names_can_be_served() -> None:
    with FakeDeepSeek(models=["my-model"], api_key="") as fake:
        assert post(fake, model="my-model").json()["model"] == "my-model"
        assert "API model names are my-model, but" in refusal(fake, model="deepseek-flash")


def test_completions_fill_the_hole(fake: FakeDeepSeek, client: openai.OpenAI) -> None:
    beta = client.with_options(base_url=f"{fake.url}/beta")
    fake.reply(["return ", "a + b"], times=2)
    asked = {"model": "deepseek-flash", "prompt": "def f(a, b):", "suffix": "\n", "echo": True}
    whole = beta.completions.create(**asked, logprobs=1)
    assert (whole.object, whole.choices[0].text) == ("text_completion", "def f(a, b):return a + b")
    assert whole.choices[0].logprobs is not None
    assert whole.choices[0].logprobs.text_offset == [0, 12, 19]
    chunks = list(beta.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_tokens": 4097}, "Invalid max_tokens value, the valid range of max_tokens is [1, 4096]"),
        ({"logprobs": 21}, "Invalid logprobs value, the valid range of logprobs is [0, 20]"),
        ({"temperature": 3}, "Invalid temperature value, the valid range of temperature is [0, 2]"),
        ({"model": "x"}, "The supported API model names are deepseek-flash, deepseek-v4-pro, but you"),
        ({"prompt": None}, "missing field `prompt`"),
        ({"echo": 1}, "echo: invalid type, expected a boolean"),
    ],
)
def test_completions_are_checked(fake: FakeDeepSeek, fields: dict[str, object], text: str) -> None:
    assert text in refusal(fake, "/beta/completions", **({"prompt": "a"} | fields))


def test_completions_are_beta(fake: FakeDeepSeek) -> None:
    assert "only available when using beta api" in refusal(fake, "/completions", prompt="a")


def test_completions_stop_and_end(fake: FakeDeepSeek) -> None:
    fake.reply(["one two"]).reply("x" * 100)
    stopped = post(fake, "/beta/completions", prompt="a", stop="two").json()["choices"][0]
    assert (stopped["text"], stopped["finish_reason"]) == ("one ", "stop")
    cut = post(fake, "/beta/completions", prompt="a", max_tokens=3).json()["choices"][0]
    assert (cut["text"], cut["finish_reason"]) == ("x" * 12, "length")


def test_files_are_kept_listed_and_deleted(fake: FakeDeepSeek, client: openai.OpenAI) -> None:
    first, second = (
        client.files.create(file=(f"{name}.png", b"\x89PNG\r\n\x1a\n\x00" * 3), purpose="user_data")
        for name in "ab"
    )
    assert (first.bytes, first.filename, first.id[:9]) == (27, "a.png", "file-api-")
    assert [row.id for row in client.files.list(limit=1)] == [second.id, first.id]
    assert client.files.retrieve(first.id) == first
    assert client.files.delete(first.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(first.id)


def test_uploads_are_checked(fake: FakeDeepSeek) -> None:
    def upload(data: dict[str, str]) -> str:
        response = httpx2.post(
            f"{fake.url}/files",
            data=data,
            files={"file": ("a.txt", b"hi")},
            headers={"authorization": f"Bearer {fake.api_key}"},
            trust_env=False,
            verify=False,
        )
        return str(response.json().get("expires_at") or response.json()["error"]["message"])

    assert "purpose` must come before" in upload({"other": "x"})
    assert "Invalid purpose" in upload({"purpose": "fine-tune"})
    assert "valid range is [3600, 2592000]" in upload({"purpose": "user_data", "expires_after[seconds]": "1"})
    assert upload({"purpose": "user_data", "expires_after[seconds]": "3600"}).isdecimal()


@pytest.mark.parametrize("wrong", [{"balance": "much"}, {"reasoning_policy": "x"}, {"usage_chunk": "x"}])
def test_arguments_are_checked(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FakeDeepSeek(**wrong)


def test_requests_are_recorded(fake: FakeDeepSeek) -> None:
    post(
        fake, "/v1/chat/completions?x=1", messages=[*HI, {"role": "assistant", "content": "Ho"}], stream=True
    )
    [request] = fake.requests
    assert (request.method, request.route, request.query) == ("POST", "/chat/completions", "x=1")
    assert (request.model, request.stream, request.last_user_text) == ("deepseek-flash", True, "Hi")
    assert fake.api_key in request.sent
