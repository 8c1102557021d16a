"""Token counts and structured output on the embedded engine and the small starter model: nothing is faked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_deepseek import fake_deepseek, plain
from pydantic import BaseModel

from deepseek_apps import DeepSeek, http_client
from deepseek_apps.backends.local import _ENGINES
from deepseek_apps.chat_model import ChatDeepSeek
from deepseek_apps.structured import structured_output
from deepseek_apps.tokens import count_body, count_with_backend

pytestmark = pytest.mark.usefixtures("starter_small_gguf")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
HALF_LOOP = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]


class City(BaseModel):
    """A city."""

    name: str
    country: str


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)


@pytest.fixture(scope="module", autouse=True)
def engines() -> Iterator[None]:
    _ENGINES.close()
    yield
    _ENGINES.close()


def test_counting_loads_no_weights() -> None:
    with http_client("local", model="starter-small") as client:
        answer = client.post("tokenize", json={"prompt": "Hello, 世界 <|im_end|>"}).json()
    assert answer["max_model_len"] is None
    assert answer["count"] == len(answer["tokens"]) > 8
    assert not _ENGINES._engines


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": "Bonjour 你好 🦊"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x" * 500}]},
        {"messages": [{"role": "user", "content": "Oslo?"}], "tools": [WEATHER]},
        {"messages": [{"role": "user", "content": "json"}], "response_format": {"type": "json_object"}},
        {
            "messages": [*HALF_LOOP, {"role": "tool", "tool_call_id": "c1", "content": "sun"}],
            "tools": [WEATHER],
        },
    ],
)
def test_the_count_is_what_the_answer_says_it_was(fields: dict[str, Any]) -> None:
    body = {"model": "starter-small", **fields}
    with DeepSeek(backend="local", model="starter-small") as client:
        answer = client.chat.completions.create(**body, max_tokens=1)
    with http_client("local", model="starter-small") as client:
        counted = count_with_backend(client, body)
    assert answer.usage is not None
    assert counted == answer.usage.prompt_tokens != count_body(body)


def test_half_a_tool_loop_is_estimated_with_the_models_tokenizer() -> None:
    with http_client("local", model="starter-small") as client:
        body = {"model": "starter-small", "messages": HALF_LOOP, "tools": [WEATHER]}
        whole = {**body, "messages": [*HALF_LOOP, {"role": "tool", "tool_call_id": "c1", "content": "sun"}]}
        assert 40 < count_with_backend(client, body) < count_with_backend(client, whole)


def test_a_server_without_the_route_is_counted_with_deepseeks_tokenizer() -> None:
    body = {"model": "deepseek-flash", "messages": HALF_LOOP[:1]}
    with fake_deepseek(plain(404, "")) as fake, http_client("server", base_url=f"{fake.url}/v1") as client:
        fake.script[:] = [plain(404, "")] * 3
        assert count_with_backend(client, body) == count_body(body)
    assert "/tokenize" in {request.path for request in fake.asked}


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_the_engine_answers_in_the_schema(method: Any) -> None:
    chat = ChatDeepSeek(model="starter-small", backend="local", temperature=0, max_tokens=60)
    runnable = structured_output(chat, City, method=method, native_json_schema=True, include_raw=True)
    result = runnable.invoke("Oslo is the capital of Norway.")
    assert result["parsed"].name == "Oslo"
    assert result["raw"].response_metadata["structured_output"]["repaired"] is False


def test_a_growing_dict_ends_as_the_whole_one() -> None:
    chat = ChatDeepSeek(model="starter-small", backend="local", temperature=0, max_tokens=60)
    parts = list(chat.with_structured_output(City.model_json_schema()).stream("Oslo is in Norway."))
    assert len(parts) > 3
    assert parts[-1].keys() == {"name", "country"}
