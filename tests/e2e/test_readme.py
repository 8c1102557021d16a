"""Every python and bash block of the README runs; the Chinese README has the same blocks.

This machine answers with the small starter model; DeepSeek's API and a cluster are a fake on loopback.
Blocks that cannot run here are fenced as `console`; `toml` is a config file, which is read.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_deepseek import FakeDeepSeek, fake_deepseek

from deepseek_apps import load_settings

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVER = "http://127.0.0.1:8000"
SECONDS = 150
# Runs all python blocks in one process, so that the model is loaded once.
RUN_BLOCKS = """
import json, sys
for number, code in enumerate(json.load(sys.stdin)):
    print(f"--- block {number}", flush=True)
    exec(compile(code, f"README.md block {number}", "exec"), {"__name__": "__main__"})
"""


def blocks(name: str, *languages: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [code for language, code in BLOCK.findall(text) if language in languages]


PYTHON = blocks("README.md", "python")
BASH = blocks("README.md", "bash")
DOCS = sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))


@pytest.fixture
def environment(tmp_path: Path, starter_small_gguf: Path) -> dict[str, str]:
    del starter_small_gguf  # says what to do when the model is not here
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DEEPSEEK_", "OPENAI_")) or name == "DEEPSEEK_APPS_CACHE_DIR"
    }
    return inherited | {
        "DEEPSEEK_APPS_MODEL": "starter-small",
        "DEEPSEEK_APPS_CONFIG": str(tmp_path / "config.toml"),
        "DEEPSEEK_APPS_STATE_DIR": str(tmp_path / "state"),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    }


@pytest.fixture
def fake() -> Iterator[FakeDeepSeek]:
    with fake_deepseek() as server:
        yield server


def without_network(code: str, fake: FakeDeepSeek) -> str:
    """Point what would leave this machine at the fake; everything else stays as it is printed."""
    there = f"{fake.url}/v1"
    replaced = code.replace('backend="hosted"', f'backend="hosted", base_url="{there}", api_key="sk-fake"')
    replaced = replaced.replace("--backend hosted", f"--base-url {there}")
    return replaced.replace(f"{SERVER}/v1", there)


def run(
    *command: str, stdin: str, environment: dict[str, str], folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=stdin,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_python_blocks(environment: dict[str, str], fake: FakeDeepSeek) -> None:
    code = json.dumps([without_network(block, fake) for block in PYTHON])
    done = run(sys.executable, "-c", RUN_BLOCKS, stdin=code, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = done.stdout.split("--- block ")[1:]
    assert len(parts) == len(PYTHON)
    assert all(len(part.splitlines()) > 1 for part in parts), done.stdout
    assert len(fake.asked) >= 4  # the hosted API three times, and the cluster


@pytest.mark.parametrize("block", [block for block in BASH if "8000" not in block and "serve" not in block])
def test_a_bash_block(environment: dict[str, str], fake: FakeDeepSeek, block: str, tmp_path: Path) -> None:
    assert "deepseek-apps" in block
    folder = ROOT if "git" in block else tmp_path  # where blocks may write files
    command = ("bash", "-euo", "pipefail", "-c", without_network(block, fake))
    done = run(*command, stdin="", environment=environment, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def served(command: str, environment: dict[str, str]) -> Iterator[int]:
    """Run `deepseek-apps serve` on a free port until the block ends; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [*command.split(), "--port", str(port)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            said = next((line for line in server.stderr if "answers at" in line), "")
            assert f"http://127.0.0.1:{port}/v1" in said
            yield port
        finally:
            server.terminate()


def test_serve_and_ask_it(environment: dict[str, str]) -> None:
    [serve] = [block for block in BASH if "serve" in block]
    [ask] = [block for block in BASH if "8000" in block]
    # As the README has it: the model is the server's, and no setting of the asking side.
    asking = {name: value for name, value in environment.items() if name != "DEEPSEEK_APPS_MODEL"}
    with served(f"{serve.strip()} --model starter-small", environment) as port:
        command = ask.replace(SERVER, f"http://127.0.0.1:{port}")
        done = run("bash", "-euo", "pipefail", "-c", command, stdin="", environment=asking)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_chinese_readme_has_the_same_blocks() -> None:
    every = ("bash", "python", "console", "toml", "")
    assert blocks("README.zh.md", *every) == blocks("README.md", *every)


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_every_fence_is_run_or_marked(name: str) -> None:
    languages = {language for language, _ in BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))}
    assert languages == {"bash", "python", "console", "toml"}


def test_the_config_file_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [config] = blocks("README.md", "toml")
    path = tmp_path / "config.toml"
    path.write_text(config, encoding="utf-8")
    monkeypatch.setenv("DEEPSEEK_APPS_CONFIG", str(path))
    assert load_settings().servers.keys() == {"gpu"}


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "CONTRIBUTING.md", *DOCS])
def test_relative_links_exist(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
