"""The package exports what it says, and importing it is nearly free."""

from __future__ import annotations

import subprocess
import sys

import pytest

import deepseek_apps

HEAVY = (
    "torch",
    "langchain",
    "langchain_core",
    "openai",
    "typer",
    "uvicorn",
    "pydantic",
    "httpx2",
    "local_backend",
)


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) & set(HEAVY)


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import deepseek_apps\nfrom deepseek_apps import DeepSeekAppsError") == set()


def test_a_local_client_loads_no_engine_before_its_first_request() -> None:
    code = "from deepseek_apps import DeepSeek\nDeepSeek(backend='local')"
    assert loaded_after(code) & {"torch", "local_backend", "langchain", "typer"} == set()


def test_every_public_name_is_there_and_sorted() -> None:
    assert deepseek_apps.__all__ == sorted(deepseek_apps.__all__)
    assert all(getattr(deepseek_apps, name) for name in deepseek_apps.__all__)
    assert dir(deepseek_apps) == deepseek_apps.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="DeapSeek"):
        deepseek_apps.DeapSeek  # noqa: B018
