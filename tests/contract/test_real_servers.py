"""Servers nobody here wrote, through the server backend: llama-cpp-python's server and `transformers serve`.

They live in environments of their own, which these variables name; without them the tests are skipped.

    DEEPSEEK_APPS_TEST_LLAMA_CPP   a python with llama-cpp-python[server]
    DEEPSEEK_APPS_TEST_GGUF        a GGUF file for it: the small starter model
    DEEPSEEK_APPS_TEST_TRANSFORMERS  a python with transformers[serving]
    DEEPSEEK_APPS_TEST_HF_FOLDER   a model folder for it: the same model, as safetensors
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from deepseek_apps import AsyncDeepSeek, ChatDeepSeek, DeepSeek, from_openai_error
from deepseek_apps.errors import ContextOverflowError, InvalidRequestError

pytestmark = pytest.mark.slow
START_SECONDS = 120.0
HI = [{"role": "user", "content": "Say hi."}]
BEGUN = [*HI, {"role": "assistant", "content": "Hi, ", "prefix": True}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
TOOL_LOOP = [
    {"role": "user", "content": "Weather in Oslo?"},
    {"role": "assistant", "content": None, "reasoning_content": "Ask the tool.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "3 C, rain"},
]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Served:
    """One running server."""

    flavor: str
    url: str
    model: str

    def client(self, **options: Any) -> DeepSeek:
        return DeepSeek(backend="server", base_url=self.url, model=self.model, max_retries=0, **options)

    def ask(self, **fields: Any) -> Any:
        with self.client() as client:
            asked = {"model": self.model, "messages": HI, "max_tokens": 24, "temperature": 0} | fields
            return client.chat.completions.create(**asked)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int, alive: str, log: Path) -> Iterator[str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(log.parent), "OMP_NUM_THREADS": "2"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"http://127.0.0.1:{port}{alive}"):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).is_success
    except httpx2.TransportError:
        return False


def _needed(*names: str) -> list[str]:
    values = [os.environ.get(name, "") for name in names]
    if missing := [
        name for name, value in zip(names, values, strict=True) if not Path(value or "?").exists()
    ]:
        pytest.skip(f"needs {' and '.join(missing)}; see the top of this file")
    return values


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    python, gguf = _needed("DEEPSEEK_APPS_TEST_LLAMA_CPP", "DEEPSEEK_APPS_TEST_GGUF")
    port, name = _free_port(), "qwen2.5-coder"
    options = ["--model", gguf, "--model_alias", name, "--n_ctx", "2048", "--n_threads", "2"]
    command = [python, "-m", "llama_cpp.server", "--host", "127.0.0.1", "--port", str(port), *options]
    with _running(command, port, "/v1/models", tmp_path_factory.mktemp("llama") / "log") as url:
        yield Served("llama-cpp-python", url, name)


@pytest.fixture(scope="module")
def transformers_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    python, folder = _needed("DEEPSEEK_APPS_TEST_TRANSFORMERS", "DEEPSEEK_APPS_TEST_HF_FOLDER")
    port = _free_port()
    command = [python, "-m", "transformers.cli.transformers", "serve", folder, "--port", str(port)]
    with _running(
        [*command, "--host", "127.0.0.1"], port, "/health", tmp_path_factory.mktemp("hf") / "log"
    ) as url:
        yield Served("transformers", url, folder)


@pytest.fixture(params=["llama_cpp", "transformers_serve"])
def served(request: pytest.FixtureRequest) -> Served:
    value: Served = request.getfixturevalue(request.param)
    return value


def test_an_answer_with_fields_of_the_hosted_dialect(served: Served) -> None:
    answer = served.ask(extra_body={"thinking": {"type": "disabled"}, "user_id": "u1"})
    assert "H" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same(served: Served) -> None:
    whole = served.ask().choices[0]
    with served.client() as client:
        chunks = list(
            client.chat.completions.create(
                model=served.model,
                messages=HI,
                max_tokens=24,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.message.content
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason
    assert (chunks[-1].usage is not None) == (served.flavor == "transformers")


async def test_a_stream_can_be_left_and_the_server_still_answers(served: Served) -> None:
    async with AsyncDeepSeek(backend="server", base_url=served.url, model=served.model) as client:
        stream = await client.chat.completions.create(model=served.model, messages=HI, stream=True)
        async for _ in stream:
            break
        await stream.close()
        answer = await client.chat.completions.create(model=served.model, messages=HI, max_tokens=2)
    assert answer.choices[0].message.content


def test_a_tool_loop_with_reasoning_goes_on(served: Served) -> None:
    assert served.ask(messages=TOOL_LOOP, tools=[WEATHER]).choices[0].message.content


def test_a_hole_is_filled(served: Served) -> None:
    with served.client() as client:
        filled = client.completions.create(
            model=served.model,
            prompt="def add(a, b):\n    return ",
            suffix="\n\nprint(add(1, 2))\n",
            max_tokens=6,
            temperature=0,
        )
    assert filled.choices[0].text.strip().startswith("a + b")


def test_it_is_recognised_and_not_sent_what_it_would_misread(served: Served) -> None:
    with pytest.raises(openai.BadRequestError, match=f"{served.flavor} cannot continue an answer"):
        served.ask(messages=BEGUN)


def test_a_schema_holds_or_is_in_the_prompt(served: Served) -> None:
    model = ChatDeepSeek(model=served.model, backend="server", base_url=served.url, max_tokens=60)
    assert model.with_structured_output(SCHEMA).invoke("Name a colour.").keys() == {"colour"}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_tool_is_called(llama_cpp: Served, choice: Any, stream: bool) -> None:
    model = ChatDeepSeek(model=llama_cpp.model, backend="server", base_url=llama_cpp.url, streaming=stream)
    answer = model.bind_tools([WEATHER], tool_choice=choice).invoke("Weather in Oslo?")
    assert [call["name"] for call in answer.tool_calls] == ["weather"]
    assert answer.tool_calls[0]["args"].keys() == {"city"}


def test_the_chat_model_answers_and_streams(served: Served) -> None:
    model = ChatDeepSeek(
        model=served.model, backend="server", base_url=served.url, max_tokens=8, temperature=0
    )
    streamed = "".join(str(chunk.content) for chunk in model.stream("Say hi."))
    assert model.invoke("Say hi.").content == streamed != ""


def test_a_prompt_too_long_is_named(llama_cpp: Served) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        llama_cpp.ask(messages=[{"role": "user", "content": "word " * 4000}])
    assert isinstance(from_openai_error(caught.value), ContextOverflowError)


def test_a_faulty_request_is_not_the_servers_failure(llama_cpp: Served) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        llama_cpp.ask(messages=[{"role": "nobody", "content": 5}], extra_body={"user_id": "u"})
    assert isinstance(from_openai_error(caught.value), InvalidRequestError)


def test_a_model_it_does_not_serve_is_named(transformers_serve: Served) -> None:
    with pytest.raises(openai.BadRequestError, match="pinned to"):
        transformers_serve.ask(model="nope")


def test_the_command_line_asks_it(served: Served, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deepseek_apps", "ask", "Say hi.", "--base-url", served.url]
    environment = os.environ | {"DEEPSEEK_APPS_CONFIG": str(tmp_path / "config.toml")}
    command += ["--model", served.model]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
